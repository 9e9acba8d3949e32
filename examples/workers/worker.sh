# unhang serve /tmp/shout.sock --workers 2 -- bash worker.sh
while IFS= read -r line; do
    request=${line#* }
    printf '%s %s\n' "${line%% *}" "${request^^}"
done
