#!/usr/bin/env bash
# From nothing to a scored row on AKS, in numbered steps that can be run again. See --help.
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
# shellcheck source=k8s/azure/steps.sh
source "$here/steps.sh"

usage() {
    cat <<'TEXT'
Usage: k8s/azure/deploy.sh --allow-address ADDRESS --acme-email ADDRESS [OPTION]…

Makes an installation of scoregate in Azure and scores a row on it. Each step looks at what is there and does what is
missing, so a run that was cut off, or a change, is the same command again. First look at what it would do: --dry-run.

Steps:
TEXT
    local step
    for step in "${steps[@]}"; do printf '  %2d  %-16s%s\n' $((++number)) "${step%%|*}" "${step#*|}"; done
    cat <<'TEXT'

What to deploy:
  --name NAME            name of the installation: 3 to 11 lower-case letters and digits (scoregate)
  --environment NAME     small, production, or a parameter file of yours (small)
  --allow-address A      address or range from which Key Vault and storage may be reached besides the cluster: yours, as
                         others see it, without /32. Can be repeated. Needed by steps 3 and 4
  --acme-email ADDRESS   for Let's Encrypt. Needed by step 9
  --cert-issuer ISSUER   letsencrypt-staging or letsencrypt-production (letsencrypt-staging: try with it first, its
                         limits are wide, but nobody trusts its certificates)
  --host HOST            public name (NAME-xxxxxx.LOCATION.cloudapp.azure.com). For a name of your own make it a CNAME of that
  --model MODEL          a model that gets an app role of its own; can be repeated (the example)
  --example MODEL        example model to publish and score (boston-housing); none: publish nothing, and leave out step 12
  --publisher OBJECT-ID  also let this person, group or app publish models; can be repeated
  --github OWNER/REPO    let this repository's workflow push and deploy
  --github-environment E the GitHub environment whose jobs may (staging)

Where:
  --subscription ID      (the one az is set to)
  --group GROUP          resource group (rg-NAME)
  --location REGION      (westeurope)

How:
  --gateway-image REF    images that are in the registry already, by digest or exact tag; step 7 then builds nothing
  --scorer-image REF
  --with-docker          build with docker here, not with az acr build in Azure
  --token-from WHAT      certificate: as the client app, with its certificate from the vault (the default);
                         az: as whoever az is logged in as (a pipeline), who needs an app role
  --work FOLDER          where the copy of k8s/ and the cluster's kubeconfig are kept (.dev/azure/NAME-xxxxxx)
  --from N               begin with step N
  --only N               this step alone; can be repeated
  --yes                  do not ask after step 3
  --dry-run              print every command of every step, in order, and run none; needs no az and no login
  --help                 this text

Needs az, kubectl, kubelogin, helm, openssl, python3, git; az aks install-cli installs kubectl and kubelogin. You need the roles
Contributor and Role Based Access Control Administrator on the subscription or group, and Application Administrator in Entra.
What it costs and how to size it: k8s/azure/README.md. To remove all of it: k8s/azure/teardown.sh.
TEXT
}

# name|what it does; the function is step_<name>
steps=(
    "checks|tools, login, resource providers"
    "group|the resource group; a vault that teardown.sh deleted comes back"
    "preview|what Bicep would change"
    "infrastructure|all of main.bicep"
    "application|Entra app registrations, roles and the client's certificate"
    "keys|the key pair between gateway and scorer, in Key Vault"
    "images|gateway and scorer, built and pushed"
    "publish|an example model, into the store"
    "overlay|the values of overlays/aks, in a copy under .dev/azure"
    "cluster|access to the cluster, cert-manager"
    "apply|kubectl apply, and waiting until all of it runs"
    "score|a token, a row, and whether the answer is R's"
)

name=scoregate environment=small addresses=() acme_email='' cert_issuer=letsencrypt-staging host='' models=() example=boston-housing
publishers=() github='' github_environment=staging subscription='' group='' location=westeurope gateway_image='' scorer_image='' with_docker=0
token_from=certificate work='' from=1 only=() number=0
api_id=${SCOREGATE_API_CLIENT_ID:-} client_id='' token='' principal_id='' principal_type='' digest='' chain='' manifest=''

while (($#)); do
    case $1 in
        --yes | --dry-run | --with-docker | --help | -h) ;;
        *) (($# > 1)) || fail "$1 needs a value, or is no option; see --help" ;;
    esac
    case $1 in
        --name) name=$2; shift ;;
        --environment) environment=$2; shift ;;
        --allow-address) addresses+=("$2"); shift ;;
        --acme-email) acme_email=$2; shift ;;
        --cert-issuer) cert_issuer=$2; shift ;;
        --host) host=$2; shift ;;
        --model) models+=("$2"); shift ;;
        --example) example=$2; shift ;;
        --publisher) publishers+=("$2"); shift ;;
        --github) github=$2; shift ;;
        --github-environment) github_environment=$2; shift ;;
        --subscription) subscription=$2; shift ;;
        --group) group=$2; shift ;;
        --location) location=$2; shift ;;
        --gateway-image) gateway_image=$2; shift ;;
        --scorer-image) scorer_image=$2; shift ;;
        --with-docker) with_docker=1 ;;
        --token-from) token_from=$2; shift ;;
        --work) work=$(realpath -m "$2"); shift ;;
        --from) from=$2; shift ;;
        --only) only+=("$2"); shift ;;
        --yes) yes=1 ;;
        --dry-run) dry_run=1 ;;
        --help | -h) usage; exit ;;
        *) fail "unknown option $1; see --help" ;;
    esac
    shift
done

[[ $name =~ ^[a-z][a-z0-9]{2,10}$ ]] || fail '--name is 3 to 11 lower-case letters and digits, a letter first'
for one in "$from" "${only[@]}"; do
    if [[ ! $one =~ ^[0-9]{1,3}$ ]] || ((one < 1 || one > ${#steps[@]})); then fail "there is no step $one; see --help"; fi
done
[[ $cert_issuer == letsencrypt-staging || $cert_issuer == letsencrypt-production ]] ||
    fail '--cert-issuer is letsencrypt-staging or letsencrypt-production'
[[ $token_from == certificate || $token_from == az ]] || fail '--token-from is certificate or az'
[[ (-z $gateway_image && -z $scorer_image) || ($gateway_image && $scorer_image) ]] ||
    fail 'give --gateway-image and --scorer-image together'
for one in "$gateway_image" "$scorer_image"; do
    [[ -z $one || $one == *@sha256:* || ($one == *:* && $one != *:latest) ]] || fail "$one is not pinned: name a digest or an exact tag"
done
parameters=$environment
if [[ -f $parameters ]]; then parameters=$(realpath "$parameters"); else parameters=k8s/azure/environments/$environment.json; fi
cd "$root"
[[ -f $parameters ]] || fail "there is no environment $environment, and no such file"
group=${group:-rg-$name}
if [[ $example == none ]]; then example=''; fi
((${#models[@]})) || [[ ! $example ]] || models=("$example")

wanted() { # wanted N
    local one
    ((${#only[@]})) || { (($1 >= from)); return; }
    for one in "${only[@]}"; do ((one != $1)) || return 0; done
    return 1
}

# Names that all of Azure shares end in six digits of subscription and group: the same again for the same installation.
set_names() {
    if ((dry_run)); then
        subscription=${subscription:-SUBSCRIPTION}
    else # a name becomes its id
        subscription=$(az account show ${subscription:+--subscription "$subscription"} --query id --output tsv) ||
            fail 'az is not logged in, or not to that subscription: az login'
    fi
    suffix=$(printf '%s/%s' "${subscription,,}" "${group,,}" | sha256sum | cut -c1-6)
    vault=$name-$suffix
    registry=$name$suffix
    store=$name$suffix
    dns_label=$name-$suffix
    host=${host:-$dns_label.$location.cloudapp.azure.com}
    work=${work:-.dev/azure/$name-$suffix}
    ((dry_run)) || (umask 077 && mkdir -p "$work")
    kubeconfig=$work/kubeconfig
}

# An output of main.bicep's deployment, into the variable of that name.
output() {
    take "$1" "${1^^}" az deployment group show --resource-group "$group" --name scoregate \
        --query "properties.outputs.$1.value" --output tsv
}

find_api() {
    [[ $api_id ]] || take api_id API_ID az ad app list --filter "displayName eq '$name API'" --query '[0].appId' --output tsv
    [[ $api_id ]] || fail "there is no app registration \"$name API\": step 5 makes it (or set SCOREGATE_API_CLIENT_ID)"
}

find_images() {
    local tag service
    [[ ! $gateway_image ]] || return 0
    tag=$(git rev-parse --short=12 HEAD)
    for service in gateway scorer; do
        take digest "sha256:DIGEST_OF_${service^^}" az acr repository show --name "$registry" \
            --image "scoregate-$service:$tag" --query digest --output tsv
        printf -v "${service}_image" '%s' "$registry.azurecr.io/scoregate-$service@$digest"
    done
}

bicep_arguments() {
    local quoted publisher_ids=''
    ((${#addresses[@]})) || { ((dry_run)) && addresses=(ADDRESS); } || fail '--allow-address is needed; see --help'
    quoted=$(printf ',"%s"' "${addresses[@]}")
    if ((${#publishers[@]})); then publisher_ids=$(printf ',"%s"' "${publishers[@]}"); fi
    arguments=(--resource-group "$group" --name scoregate --template-file k8s/azure/main.bicep --parameters "@$parameters"
        --parameters "name=$name" "suffix=$suffix" "location=$location" "deployerId=$principal_id" "deployerType=$principal_type"
        "allowedAddresses=[${quoted:1}]" "publisherIds=[${publisher_ids:1}]"
        "githubRepository=$github" "githubEnvironment=$github_environment")
}

# Who az is logged in as.
find_deployer() {
    local account
    take principal_type user az account show --query user.type --output tsv
    if [[ ${principal_type,,} == user ]]; then
        principal_type=User
        take principal_id DEPLOYER az ad signed-in-user show --query id --output tsv
    else
        principal_type=ServicePrincipal
        take account ACCOUNT az account show --query user.name --output tsv
        take principal_id DEPLOYER az ad sp show --id "$account" --query id --output tsv
    fi
}

step_checks() {
    local tool provider version
    for tool in az kubectl kubelogin helm openssl python3 git; do
        ((dry_run)) || command -v "$tool" >/dev/null || fail "$tool is missing; az aks install-cli installs kubectl and kubelogin"
    done
    take version 2.75.0 az version --query '"azure-cli"' --output tsv
    [[ $(printf '%s\n' 2.75.0 "$version" | sort -V | head -n 1) == 2.75.0 ]] || fail "az $version is too old: az upgrade"
    run az account set --subscription "$subscription"
    for provider in Cache Compute ContainerRegistry ContainerService Insights KeyVault ManagedIdentity Monitor Network \
        OperationalInsights PolicyInsights Storage; do
        run az provider register --namespace "Microsoft.$provider" --wait
    done
    # Nodes encrypt their own disks only in a subscription that asked for it once.
    run az feature register --namespace Microsoft.Compute --name EncryptionAtHost --output none
    until_it_says 1800 Registered az feature show --namespace Microsoft.Compute --name EncryptionAtHost \
        --query properties.state --output tsv
    run az provider register --namespace Microsoft.Compute --wait
}

step_group() {
    local deleted
    run az group create --name "$group" --location "$location" --tags application=scoregate --output none
    take deleted '' az keyvault list-deleted --resource-type vault --query "[?name=='$vault'].name" --output tsv
    if [[ $deleted ]] || ((dry_run)); then
        note '    (only if the vault is among the deleted ones)'
        run az keyvault recover --name "$vault" --location "$location" --output none
    fi
}

step_preview() {
    find_deployer
    bicep_arguments
    run az deployment group what-if "${arguments[@]}"
    confirm 'Make these changes?'
}

step_infrastructure() {
    [[ $principal_id ]] || find_deployer
    bicep_arguments
    note '    (a quarter of an hour the first time)'
    run az deployment group create "${arguments[@]}" --output none
}

step_application() {
    local options=(--name "$name" --vault "$vault") model pipelineObjectId
    for model in "${models[@]}"; do options+=(--model "$model"); done
    if [[ $github ]]; then
        output pipelineObjectId
        options+=(--grant "$pipelineObjectId")
    fi
    ((!dry_run)) || options+=(--dry-run)
    k8s/azure/register_app.sh "${options[@]}"
}

step_keys() {
    local secrets gatewayObjectId scorerObjectId vault_id
    secrets=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$secrets'" EXIT
    eventually 600 az keyvault secret list --vault-name "$vault" --output none
    if holds az keyvault secret show --vault-name "$vault" --name scoregate-internal-key --output none; then
        run az keyvault secret download --vault-name "$vault" --name scoregate-internal-key --file "$secrets/key.pem"
    else
        run openssl genpkey -algorithm ed25519 -out "$secrets/key.pem"
        run az keyvault secret set --vault-name "$vault" --name scoregate-internal-key --file "$secrets/key.pem" \
            --content-type application/x-pem-file --output none
    fi
    if ! holds az keyvault secret show --vault-name "$vault" --name scoregate-internal-public-keys --output none; then
        run openssl pkey -in "$secrets/key.pem" -pubout -out "$secrets/public.pem"
        run az keyvault secret set --vault-name "$vault" --name scoregate-internal-public-keys --file "$secrets/public.pem" \
            --content-type application/x-pem-file --output none
    fi
    rm -rf "$secrets"
    # Each reads its own: the private key is the gateway's alone.
    output gatewayObjectId
    output scorerObjectId
    take vault_id VAULT_ID az keyvault show --name "$vault" --query id --output tsv
    run az role assignment create --role 'Key Vault Secrets User' --scope "$vault_id/secrets/scoregate-internal-key" \
        --assignee-object-id "$gatewayObjectId" --assignee-principal-type ServicePrincipal --output none
    run az role assignment create --role 'Key Vault Secrets User' --scope "$vault_id/secrets/scoregate-internal-public-keys" \
        --assignee-object-id "$scorerObjectId" --assignee-principal-type ServicePrincipal --output none
}

step_images() {
    local tag service
    if [[ $gateway_image ]]; then
        note '    nothing to build: images were given'
        return
    fi
    [[ ! $(git status --porcelain --untracked-files=no) ]] || ((dry_run)) ||
        fail 'there are changes that are not committed, and images are named after a commit'
    tag=$(git rev-parse --short=12 HEAD)
    for service in gateway scorer; do
        holds az acr repository show --name "$registry" --image "scoregate-$service:$tag" && continue
        if ((with_docker)); then
            run docker build --pull --build-arg "REVISION=$tag" --file "$service/Dockerfile" --tag "$registry.azurecr.io/scoregate-$service:$tag" .
            run az acr login --name "$registry"
            run docker push "$registry.azurecr.io/scoregate-$service:$tag"
        else
            run az acr build --registry "$registry" --image "scoregate-$service:$tag" --file "$service/Dockerfile" \
                --build-arg "REVISION=$tag" --platform linux/amd64 .
        fi
    done
}

step_publish() {
    local blob=models/$example/1/manifest.json there
    [[ $example ]] || { note '    nothing to publish'; return; }
    eventually 600 az storage blob list --account-name "$store" --container-name models --num-results 1 --auth-mode login --output none
    take there false az storage blob exists --account-name "$store" --container-name models --name "$blob" \
        --auth-mode login --query exists --output tsv
    if [[ $there != true ]]; then
        run ./dev setup
        run rm -rf "$work/package"
        run env R_LIBS=.dev/r-lib TZ=UTC LC_ALL=C.UTF-8 OMP_NUM_THREADS=1 \
            Rscript "examples/models/$example/train.R" "$work/package"
        run env "AZURE_STORAGE_ACCOUNT_NAME=$store" AZURE_USE_AZURE_CLI=true \
            .venv/bin/scoregate publish "$work/package" --store az://models
    fi
}

# The names of overlays/aks/params.env, with their values here.
write_parameters() {
    printf '%s\n' "TENANT_ID=$tenantId" "AUDIENCES=api://$api_id,$api_id" "GATEWAY_CLIENT_ID=$gatewayClientId" \
        "SCORER_CLIENT_ID=$scorerClientId" "KEY_VAULT=$vault" "STORAGE_ACCOUNT=$store" "REDIS_URL=$redisUrl" "POD_CIDR=$podCidr" \
        "GATEWAY_IMAGE=$gateway_image" "SCORER_IMAGE=$scorer_image" "HOST=$host" "DNS_LABEL=$dns_label" \
        "CERT_ISSUER=$cert_issuer" "ACME_EMAIL=$acme_email"
}

step_overlay() {
    local one tenantId gatewayClientId scorerClientId redisUrl podCidr
    [[ $acme_email ]] || { ((dry_run)) && acme_email=ACME_EMAIL; } || fail '--acme-email is needed; see --help'
    for one in tenantId gatewayClientId scorerClientId redisUrl podCidr; do output "$one"; done
    find_api
    find_images
    run rm -rf "$work/k8s"
    run cp -R k8s "$work/k8s"
    note "    written to $work/k8s/overlays/aks/params.env:"
    write_parameters | sed 's/^/      /'
    ((dry_run)) || write_parameters >"$work/k8s/overlays/aks/params.env"
}

step_cluster() {
    run az aks get-credentials --resource-group "$group" --name "$name" --file "$kubeconfig" --overwrite-existing
    run kubelogin convert-kubeconfig --login azurecli --kubeconfig "$kubeconfig"
    eventually 600 kubectl --kubeconfig "$kubeconfig" get gatewayclass approuting-istio
    eventually 600 kubectl --kubeconfig "$kubeconfig" get crd podmonitors.azmonitoring.coreos.com
    run helm upgrade --install cert-manager oci://quay.io/jetstack/charts/cert-manager --version v1.21.1 \
        --kubeconfig "$kubeconfig" --namespace cert-manager --create-namespace --set crds.enabled=true \
        --set config.apiVersion=controller.config.cert-manager.io/v1alpha1 --set config.kind=ControllerConfiguration \
        --set config.enableGatewayAPI=true --wait --timeout 10m
}

step_apply() {
    local kubectl=(kubectl --kubeconfig "$kubeconfig")
    run "${kubectl[@]}" apply -k "$work/k8s/overlays/aks"
    run "${kubectl[@]}" -n scoregate-edge wait --for=condition=Programmed gateway/scoregate --timeout=10m
    run "${kubectl[@]}" -n scoregate-edge wait --for=condition=Ready certificate/scoregate-tls --timeout=15m
    if [[ $example ]]; then
        run "${kubectl[@]}" -n scoregate rollout status deployment/scorer --timeout=15m
    else
        note '    (a scorer is ready when it has a model to serve: publish one)'
    fi
    run "${kubectl[@]}" -n scoregate rollout status deployment/gateway --timeout=15m
}

read_manifest='import obstore, os, sys; from obstore.store import from_url; '\
'store = from_url(os.environ["SCORER_STORE_URL"]); '\
'sys.stdout.buffer.write(bytes(obstore.get(store, f"models/{sys.argv[1]}/1/manifest.json").bytes()))'

step_score() {
    local tenantId kubectl=(kubectl --kubeconfig "$kubeconfig")
    [[ $example ]] || { note '    no example, nothing to score'; return; }
    [[ -x .venv/bin/scoregate ]] || run ./dev --help
    find_api
    if [[ $token_from == az ]]; then
        take token TOKEN az account get-access-token --scope "api://$api_id/.default" --query accessToken --output tsv
    else
        output tenantId
        take client_id CLIENT_ID az ad app list --filter "displayName eq '$name client'" --query '[0].appId' --output tsv
        # shellcheck disable=SC2064 # the folder of now
        trap "rm -f '$work/client.pfx'" EXIT
        run az keyvault secret download --vault-name "$vault" --name scoregate-client --encoding base64 \
            --file "$work/client.pfx" --overwrite
        ((dry_run)) || chmod 600 "$work/client.pfx"
        take token TOKEN .venv/bin/scoregate token --tenant "$tenantId" --client-id "$client_id" \
            --certificate-file "$work/client.pfx" --scope "api://$api_id/.default"
        run rm -f "$work/client.pfx"
    fi
    # Read where it is served, by the scorer's own identity: a pipeline does not pass the store's firewall.
    take manifest '' "${kubectl[@]}" -n scoregate exec deployment/scorer --container scorer -- python3 -c "$read_manifest" "$example"
    ((dry_run)) || printf '%s\n' "$manifest" >"$work/manifest.json"
    if [[ $cert_issuer == letsencrypt-staging ]]; then
        note '    (nobody trusts the staging certificate: the chain that the cluster itself holds is trusted instead)'
        take chain '' "${kubectl[@]}" -n scoregate-edge get secret scoregate-tls --output 'go-template={{index .data "tls.crt" | base64decode}}'
        ((dry_run)) || printf '%s\n' "$chain" >"$work/chain.pem"
        export SCOREGATE_CA_FILE=$work/chain.pem
    fi
    note "    SCOREGATE_TOKEN=TOKEN ${SCOREGATE_CA_FILE:+SCOREGATE_CA_FILE=$SCOREGATE_CA_FILE }.venv/bin/python -m devkit.smoke https://$host <$work/manifest.json"
    ((dry_run)) || SCOREGATE_TOKEN=$token .venv/bin/python -m devkit.smoke "https://$host" <"$work/manifest.json"
}

set_names
for step in "${steps[@]}"; do
    ((++number))
    wanted "$number" || continue
    note "Step $number of ${#steps[@]}: ${step%%|*}: ${step#*|}"
    "step_${step%%|*}"
done
((dry_run)) || note "Done: https://$host"
