# Prints the entries of a lock whose packages are in `names`, with their hashes; for what has no lock of its own.
# Fails if one is missing.
BEGIN { count = split(names, wanted, " "); for (i = 1; i <= count; i++) missing[wanted[i]] }
/^[^ #]/ { split($0, parts, "=="); taken = parts[1] in missing || parts[1] in found; if (taken) { found[parts[1]]; delete missing[parts[1]] } }
/^#/ { taken = 0 }
taken { print }
END { for (name in missing) { print "pick.awk: the lock has no " name > "/dev/stderr"; failed = 1 } exit failed }
