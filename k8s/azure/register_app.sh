#!/usr/bin/env bash
# The Entra app registrations of an installation: the API that tokens are for, and one client. See --help.
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=k8s/azure/steps.sh
source "$here/steps.sh"

usage() {
    cat <<'TEXT'
Usage: register_app.sh --name NAME [--vault VAULT] [--model MODEL]… [--grant OBJECT-ID]… [--dry-run]

Makes, or brings up to date, in the tenant that az is logged in to:

  "NAME API"     the registration tokens are for: App ID URI api://<client id>, v2 tokens, the app roles
                 Models.Score.All and Models.Score.<model>, the delegated scope Models.Score
  "NAME client"  a client with the role Models.Score.All; its certificate is made in the vault and stays there

It can be run again: it adds what is missing and takes nothing away.

  --name NAME        name of the installation
  --vault VAULT      Key Vault for the client's certificate (scoregate-client); without it no client is made
  --model MODEL      a model that gets a role of its own; may be repeated
  --grant OBJECT-ID  also give the role Models.Score.All to this service principal or managed identity; may be repeated
  --dry-run          print every command and run none
  --help             this text

You need the Entra role Application Administrator, or Cloud Application Administrator; giving an app role to an app needs
Privileged Role Administrator or the right AppRoleAssignment.ReadWrite.All.
TEXT
}

name='' vault='' api_id='' client_id='' resource='' role='' principal='' known=0 models=() grants=()
while (($#)); do
    case $1 in
        --name | --vault | --model | --grant) (($# > 1)) || fail "$1 needs a value" ;;&
        --name) name=$2; shift ;;
        --vault) vault=$2; shift ;;
        --model) models+=("$2"); shift ;;
        --grant) grants+=("$2"); shift ;;
        --dry-run) dry_run=1 ;;
        --help | -h) usage; exit ;;
        *) fail "unknown option $1; see --help" ;;
    esac
    shift
done
[[ $name ]] || fail '--name is needed; see --help'

graph=https://graph.microsoft.com/v1.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# find_app VARIABLE DISPLAY-NAME: the client id of the one app of that name, made if there is none.
find_app() {
    local variable=$1 display=$2 found
    take found '' az ad app list --filter "displayName eq '$display'" --query '[].appId' --output tsv
    [[ $found != *$'\n'* ]] || fail "there are several apps called \"$display\"; delete or rename all but one"
    if [[ ! $found ]]; then
        take found "${variable^^}" az ad app create --display-name "$display" --sign-in-audience AzureADMyOrg \
            --query appId --output tsv
        # What was just made is not at once known everywhere in Entra.
        eventually 120 az ad app show --id "$found" --output none
    fi
    holds az ad sp show --id "$found" || run az ad sp create --id "$found" --output none
    printf -v "$variable" '%s' "$found"
}

# grant PRINCIPAL: the app role Models.Score.All of the API.
grant() {
    local principal=$1 held
    take held '' az rest --method GET --url "$graph/servicePrincipals/$principal/appRoleAssignments" \
        --query "value[?appRoleId=='$role' && resourceId=='$resource'].id" --output tsv
    [[ $held ]] || eventually 120 az rest --method POST --url "$graph/servicePrincipals/$principal/appRoleAssignments" \
        --headers Content-Type=application/json --output none \
        --body "{\"principalId\":\"$principal\",\"resourceId\":\"$resource\",\"appRoleId\":\"$role\"}"
}

note "  the API's registration, \"$name API\""
find_app api_id "$name API"
application="$graph/applications(appId='$api_id')"
if ((dry_run)); then
    run az rest --method GET --url "$application"
    note "    python3 k8s/azure/app_body.py ${models[*]} <APPLICATION >BODY"
    run az rest --method PATCH --url "$application" --headers Content-Type=application/json --body @BODY
else
    az rest --method GET --url "$application" >"$work/application.json"
    python3 "$here/app_body.py" "${models[@]}" <"$work/application.json" >"$work/body.json"
    if [[ -s $work/body.json ]]; then
        run az rest --method PATCH --url "$application" --headers Content-Type=application/json --body "@$work/body.json"
    else
        note '    nothing to change'
    fi
fi
take resource API_PRINCIPAL az ad sp show --id "$api_id" --query id --output tsv
until_it_says 120 1 az ad sp show --id "$api_id" --query "length(appRoles[?value=='Models.Score.All'])" --output tsv
take role ROLE az ad sp show --id "$api_id" --query "appRoles[?value=='Models.Score.All'].id | [0]" --output tsv

if [[ $vault ]]; then
    note "  a client, \"$name client\""
    find_app client_id "$name client"
    if ! holds az keyvault certificate show --vault-name "$vault" --name scoregate-client; then
        run az ad app credential reset --id "$client_id" --keyvault "$vault" --cert scoregate-client --create-cert \
            --years 1 --append --output none
    else
        take known 1 az ad app credential list --id "$client_id" --cert --query 'length(@)' --output tsv
        ((known)) || run az ad app credential reset --id "$client_id" --keyvault "$vault" --cert scoregate-client \
            --append --output none
    fi
    take principal CLIENT_PRINCIPAL az ad sp show --id "$client_id" --query id --output tsv
    grant "$principal"
fi
for one in "${grants[@]}"; do
    note "  the role for $one"
    grant "$one"
done

note "  client id of the API: $api_id (audience $api_id, App ID URI api://$api_id)"
[[ ! $vault ]] || note "  client id of the client: $client_id; its certificate: $vault/scoregate-client"
