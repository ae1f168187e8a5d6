# Ends the tests' PostgreSQL once no test uses it any more, also if the tests were killed.
#
#   sh warden.sh FOLDER PG_CTL SECONDS
#
# FOLDER has `users`, on which each process that uses the server holds a shared lock for its life;
# `lock`, which a process holds while it begins to use the server; and `warden`, held by this
# script. Once nobody has held `users` for SECONDS, the server is stopped and FOLDER removed.
folder=$1
pg_ctl=$2
patience=$3

exec 8<"$folder/warden"
flock -w 10 -x 8 || exit 0 # another warden is there
quiet=0
while [ -e "$folder/users" ]; do
    if flock -n -x "$folder/users" true; then quiet=$((quiet + 1)); else quiet=0; fi
    if [ "$quiet" -gt "$patience" ]; then
        exec 9<"$folder/lock"
        flock -x 9
        if flock -n -x "$folder/users" true; then
            "$pg_ctl" stop -s -w -m immediate -D "$folder/data"
            # Out of the way first: whoever comes now begins with a new folder.
            mv "$folder" "$folder.$$"
            rm -rf "$folder.$$"
            exit 0
        fi
        exec 9<&-
    fi
    sleep 1
done
