package internet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// nodeResolvers is the file that names the node's resolvers.
const nodeResolvers = "/etc/resolv.conf"

// resolvConf is the text that tells slirp4netns whom to ask: the given resolvers, or the
// node's. It takes only the first one, and only IPv4.
func resolvConf(given []netip.Addr) (string, error) {
	if len(given) == 0 {
		text, err := os.ReadFile(nodeResolvers)
		if err != nil {
			return "", fmt.Errorf("read the node's resolvers: %w", err)
		}
		given = nameservers(text)
	}
	for _, a := range given {
		if a = a.Unmap(); a.Is4() {
			return "nameserver " + a.String() + "\n", nil
		}
	}
	return "", errors.New(`network "internet" needs a resolver with an IPv4 address: name one in the driver's options, or in ` + nodeResolvers)
}

func nameservers(text []byte) (all []netip.Addr) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "nameserver" {
			if a, err := netip.ParseAddr(fields[1]); err == nil {
				all = append(all, a)
			}
		}
	}
	return all
}
