package testkit

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// NPMPatience is how long one command of npm may take.
const NPMPatience = 3 * time.Minute

// unreached is what npm says where there is no way to the registry: no route, or a proxy that lets
// nothing through (E403) or shows a certificate of its own. A file that is not as the lock file has it
// (EINTEGRITY), or is not there (E404), is a fault.
var unreached = regexp.MustCompile(`(?m)^npm \S+ (?:code|errno) (?:E(?:NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH|HOSTUNREACH|NOTCACHED|40[137]|5\d\d)|ERR_SOCKET_TIMEOUT|FETCH_ERROR|SELF_SIGNED_CERT\w*|UNABLE_TO_(?:GET_ISSUER|VERIFY)\w*)$`)

// NPMInstall installs what the lock file of a folder names, by checksum. What npm has in its cache is
// not fetched again. offline is not empty where the registry was not reached, and says why.
func NPMInstall(dir string) (offline string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), NPMPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-timeout=20000", "--fetch-retries=1")
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("it took more than %v: %w", NPMPatience, err)
	}
	if err == nil {
		return "", nil
	}
	if unreached.Match(out) {
		offline = strings.Join(strings.Fields(string(out)), " ")
	}
	return offline, fmt.Errorf("npm ci: %w\n%s", err, out)
}
