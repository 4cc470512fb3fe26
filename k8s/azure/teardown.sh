#!/usr/bin/env bash
# Removes what deploy.sh made. See --help.
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=k8s/azure/steps.sh
source "$here/steps.sh"

usage() {
    cat <<'TEXT'
Usage: k8s/azure/teardown.sh [--name NAME] [--group GROUP] [--subscription ID] [--keep-apps] [--yes] [--dry-run]

Deletes the resource group with everything in it, published models and logs included, and the app registrations
"NAME API" and "NAME client". Asks first. What cannot be purged: the Key Vault stays among the deleted ones for 90 days, costs
nothing there, and deploy.sh brings it back with its secrets. Node images, providers and features of the subscription stay.

  --name NAME          name of the installation (scoregate)
  --group GROUP        resource group (rg-NAME)
  --subscription ID    (the one az is set to)
  --keep-apps          leave the app registrations: callers keep their roles for the next installation
  --yes                do not ask
  --dry-run            print every command and run none
  --help               this text
TEXT
}

name=scoregate group='' subscription='' keep_apps=0 ids=''
while (($#)); do
    case $1 in
        --name | --group | --subscription) (($# > 1)) || fail "$1 needs a value" ;;&
        --name) name=$2; shift ;;
        --group) group=$2; shift ;;
        --subscription) subscription=$2; shift ;;
        --keep-apps) keep_apps=1 ;;
        --yes) yes=1 ;;
        --dry-run) dry_run=1 ;;
        --help | -h) usage; exit ;;
        *) fail "unknown option $1; see --help" ;;
    esac
    shift
done
group=${group:-rg-$name}

[[ ! $subscription ]] || run az account set --subscription "$subscription"
run az resource list --resource-group "$group" --query '[].{type:type, name:name}' --output table
confirm "Delete the resource group $group with all of this?"
run az group delete --name "$group" --yes
if ((!keep_apps)); then
    for display in "$name client" "$name API"; do
        take ids APP_ID az ad app list --filter "displayName eq '$display'" --query '[].appId' --output tsv
        for id in $ids; do run az ad app delete --id "$id"; done
    done
fi
