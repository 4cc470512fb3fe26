# shellcheck shell=bash
# How deploy.sh, register_app.sh and teardown.sh say and run their commands; read by them, not run by itself.
# With dry_run=1 each command is printed and none is run: what would be read from Azure is printed as its name in capitals.

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || {
    echo "bash 4.4 or newer is needed" >&2
    exit 1
}
dry_run=0
yes=0

note() { printf '%s\n' "$*"; }
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# The command as it could be pasted into a shell.
shown() {
    local word out=''
    for word in "$@"; do
        if [[ ! $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then
            if [[ $word == *\'* && $word != *[\"\$\`\\]* ]]; then word="\"$word\""; else word="'${word//\'/\'\\\'\'}'"; fi
        fi
        out+=" $word"
    done
    printf '%s' "${out:1}"
}

# run COMMAND…
run() {
    printf '    %s\n' "$(shown "$@")"
    ((dry_run)) || "$@"
}

# take NAME STAND-IN COMMAND…: the command's output into the variable; in a dry run the stand-in.
take() {
    local name=$1 stand_in=$2 value
    shift 2
    # shellcheck disable=SC2016 # it is printed, not run
    printf '    %s=$(%s)\n' "$name" "$(shown "$@")"
    if ((dry_run)); then
        value=$stand_in
    else
        value=$("$@") || fail "this failed: $(shown "$@")"
    fi
    printf -v "$name" '%s' "$value"
}

# holds COMMAND…: whether it succeeds; nothing is there yet in a dry run.
holds() {
    printf '    unless this succeeds: %s\n' "$(shown "$@")"
    ((!dry_run)) && "$@" >/dev/null 2>&1
}

# eventually SECONDS COMMAND…: tries again until it succeeds. A role takes minutes until every service knows of it.
eventually() {
    local until=$((SECONDS + $1))
    shift
    printf '    until this succeeds: %s\n' "$(shown "$@")"
    ((dry_run)) && return
    until "$@" >/dev/null; do
        ((SECONDS < until)) || fail "this did not succeed in time: $(shown "$@")"
        note '      not yet; again in 15 s'
        sleep 15
    done
}

# until_it_says SECONDS WANTED COMMAND…: the same, until that is the command's output.
until_it_says() {
    local until=$((SECONDS + $1)) wanted=$2
    shift 2
    printf '    until this says %s: %s\n' "$wanted" "$(shown "$@")"
    ((dry_run)) && return
    until [[ $("$@") == "$wanted" ]]; do
        ((SECONDS < until)) || fail "this did not say $wanted in time: $(shown "$@")"
        note '      not yet; again in 15 s'
        sleep 15
    done
}

# confirm QUESTION: goes on only if the answer is yes.
confirm() {
    ((dry_run || yes)) && return
    [[ -t 0 ]] || fail 'nobody is there to ask; --yes answers all questions'
    local answer
    read -r -p "$1 [y/N] " answer
    [[ $answer == [yY]* ]] || fail 'stopped; nothing further was changed'
}
