#!/usr/bin/env bash
# A whole project on one machine: a hub, four hospitals, a data scientist, a privacy officer.
# Every line that begins with $ is what these people would type, in the folder named above it.
#
#   make federation                                  all of it, in runs/loopback
#   examples/loopback/federation.sh FOLDER           in another folder
#   examples/loopback/federation.sh --dry-run        only print the commands
set -euo pipefail

DRY_RUN=
if [[ ${1:-} == --dry-run ]]; then DRY_RUN=yes; shift; fi

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
command -v fedefm >/dev/null || PATH="$REPOSITORY/.venv/bin:$PATH"
FOLDER=${1:-$REPOSITORY/runs/loopback}
SERVER=${SERVER:-localhost}
PORT=${PORT:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}
HOSPITALS=("St. Mary's Hospital" "Dr. Weber Clinic" "North General Hosp." "Univ. Hospital East")
SITES=(St-Marys-Hospital Dr-Weber-Clinic North-General-Hosp Univ-Hospital-East)  # as FLARE calls them
KINDS=(animal,cardiac high_scatter,image_intensifier low_dose,neuro_dsa phantom,roadmap)
LEAD=lead@hub.example.org OFFICER=officer@hub.example.org ADMIN=admin@hub.example.org

# --- How the steps are shown and run.

step() { printf '\n\n== %s\n' "$*"; }

at() {  # the machine of a party: a folder of its own, which is also its home
  printf '\n# at %s\n' "$1"
  [[ $DRY_RUN ]] || { mkdir -p "$FOLDER/$1" && cd "$FOLDER/$1" && export HOME=$PWD; }
}

typed() {  # the words of a command as a person writes them
  local word line=
  for word; do
    [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word="\"$word\""
    line+="$word "
  done
  printf '$ %s\n' "${line% }"
}

run() {
  typed "$@"
  [[ $DRY_RUN ]] || "$@"
}

start() {  # a kit's own script, which puts its process into the background
  printf '$ bash kit/startup/start.sh >> kit.log 2>&1\n'
  [[ $DRY_RUN ]] || bash kit/startup/start.sh >>kit.log 2>&1 </dev/null
}

take() {  # a command whose answer is needed later
  local name=$1 answer=$1; shift
  typed "$@" | sed "s/^\\$ \(.*\)/$ $name=\$(\1)/"
  [[ $DRY_RUN ]] || answer=$("$@")
  printf -v "$name" '%s' "$answer"
}

stop() {  # it asks whether one is sure
  printf '$ bash kit/startup/stop_fl.sh\n'
  [[ $DRY_RUN ]] || bash kit/startup/stop_fl.sh <<<y
}

write() {  # a file, with what comes on standard input
  printf '$ edit %s\n' "$1"
  if [[ $DRY_RUN ]]; then cat >/dev/null; else tee "$1" | sed 's/^/    /'; fi
}

# --- What has to be waited for. Starting takes some 15 s, on a busy machine a minute.

wait_for() {
  local seconds=300 what=$1; shift
  [[ $DRY_RUN ]] && return
  printf 'waiting until %s\n' "$what"
  until "$@"; do
    if ((--seconds < 0)); then echo "not within minutes: $what; see kit.log of the parties" >&2; exit 1; fi
    sleep 1
  done
}

listens() { (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }

all_connected() {
  local told site
  told=$(nvflare --format json system status --startup-kit kit 2>/dev/null) || return 1
  for site in "${SITES[@]}"; do [[ $told == *"\"$site\""* ]] || return 1; done
}

none_left() { [[ -z $(leftover) ]]; }

# --- Nothing is left running, however this ends.

leftover() { pgrep -f -- "$FOLDER/[^ ]*/kit" || true; }  # the kits name their folder when they run

stop_all() {
  local status=$?
  trap - EXIT INT TERM
  if [[ -n $(leftover) ]]; then
    printf '\n== Something is still running; stopping it\n'
    for pid in $(leftover); do kill -TERM "$pid" 2>/dev/null || true; done
    sleep 2
    for pid in $(leftover); do kill -KILL "$pid" 2>/dev/null || true; done
  fi
  exit "$status"
}

prepare() {
  if [[ -e $FOLDER && ! -e $FOLDER/.fedefm_loopback ]]; then
    echo "$FOLDER exists and is not the folder of an earlier federation; name another one" >&2
    exit 2
  fi
  mkdir -p "$FOLDER" && FOLDER=$(cd "$FOLDER" && pwd) && touch "$FOLDER/.fedefm_loopback"
  if [[ -n $(leftover) ]]; then
    echo "a federation is running in $FOLDER already; wait for its end" >&2
    exit 2
  fi
  find "$FOLDER" -mindepth 1 -maxdepth 1 ! -name .fedefm_loopback -exec rm -rf {} +
  export MPLCONFIGDIR="$FOLDER/.matplotlib" OMP_NUM_THREADS=1  # one core each is enough here
  trap stop_all EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

[[ $DRY_RUN ]] || prepare

# --- What people do.

step "1. The hub describes the project and makes a kit for everybody"
at hub
run fedefm provision init --name catheters --server "$SERVER" --port "$PORT" \
  --site "${HOSPITALS[0]}" --site "${HOSPITALS[1]}" --site "${HOSPITALS[2]}" \
  --site "${HOSPITALS[3]}" --lead "$LEAD" --officer "$OFFICER" --admin "$ADMIN"
run cd catheters
run nvflare provision -p project.yml
KITS=workspace/catheters/prod_00
run fedefm provision check "$KITS/$SERVER"
run fedefm provision expiry .

step "2. Each kit goes to its owner (here it is copied), and nowhere else"
hand_over() { run mkdir -p "../../$2"; run cp -R "$KITS/$1" "../../$2/kit"; }
hand_over "$SERVER" server
for site in "${SITES[@]}"; do hand_over "$site" "$site"; done
hand_over "$LEAD" lead
hand_over "$OFFICER" officer
hand_over "$ADMIN" admin

step "3. The server starts"
at server
run fedefm provision preflight kit
start
wait_for "the server listens" listens

step "4. Each hospital brings its images (here simulated ones) and says what it allows, then starts"
for i in "${!SITES[@]}"; do
  at "${SITES[$i]}"
  run fedefm data simulate images --domains "${KINDS[$i]}" --patients 60 --frames 1 --size 32 \
    --seed "$((i + 1))"
  run fedefm data check images/manifest.csv
  run mkdir -p -m 700 ledger witness
  write kit/local/fedefm_site.yaml <<EOF
datasets:
  pretraining:
    manifest: ../../images/manifest.csv
    labels: [${KINDS[$i]//,/, }]
ledger: ../../ledger/ledger.sqlite
ledger_witness: ../../witness/ledger.head
policy:
  require_dp: true
  epsilon_cap: 8
  delta: 1.0e-3
  min_cohort: 2
  allowed_metrics: [seconds]
EOF
  run fedefm provision check kit
  run fedefm provision preflight kit
  start
done

step "5. The data scientist tries the run file at home, on simulated images"
at lead
printf '$ cp examples/loopback/catheters.yaml .\n'  # from the repository
[[ $DRY_RUN ]] || cp "$REPOSITORY/examples/loopback/catheters.yaml" .
run fedefm data simulate trial --patients 30 --frames 1 --size 32
run fedefm data split trial/manifest.csv sites --sites 4
run fedefm privacy topology catheters.yaml --sites sites
run fedefm privacy what-if catheters.yaml --site sites/site-1/fedefm_site.yaml
run fedefm run catheters.yaml --sites sites --out runs/trial
printf '# seven patients a site teach next to nothing under noise: an accuracy near chance is right here\n'

step "6. The same run file goes to the hospitals as a job"
run export FEDEFM_ADMIN_KIT=kit
wait_for "all four hospitals are connected" all_connected
take JOB fedefm job submit catheters.yaml --sites "$(IFS=,; echo "${SITES[*]}")"
run fedefm job watch "$JOB" --html status.html
run fedefm job download "$JOB" --out runs
run fedefm job status
run fedefm report runs/catheters
run fedefm export runs/catheters/model.safetensors handover

step "7. Each hospital sees what was spent of its patients' privacy, and keeps a copy of the record"
for site in "${SITES[@]}"; do
  at "$site"
  run fedefm privacy status kit/local/fedefm_site.yaml
  run fedefm privacy verify kit/local/fedefm_site.yaml
  run mkdir -p -m 700 backup
  run cp -p ledger/ledger.sqlite ledger/ledger.sqlite.key backup
done
run cp -p backup/ledger.sqlite backup/ledger.sqlite.key ledger
run fedefm privacy verify kit/local/fedefm_site.yaml

step "8. Later: a hospital and a person join, a certificate is renewed, a hospital and a person leave"
at hub
run cd catheters
run fedefm provision join project.yml --site "Lake Clinic"
run fedefm provision join project.yml --lead ann@hub.example.org
run fedefm provision rotate project.yml "${SITES[0]}"
run fedefm provision retire project.yml "${SITES[1]}"
run fedefm provision retire project.yml ann@hub.example.org
run fedefm provision expiry .
at "${SITES[1]}"
stop
at admin
run nvflare config add admin kit
run nvflare config use admin
run nvflare system disable-client "${SITES[1]}" --force

step "9. The hub stops server and sites"
run nvflare system status
run nvflare system shutdown all --force
wait_for "all processes are gone" none_left

printf '\nthe report of the run: %s\n' "$FOLDER/lead/runs/catheters/report.html"
