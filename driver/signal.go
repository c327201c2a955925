package driver

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// signalName is the full name of a signal that Nomad gives with or without SIG, in
// any case.
func signalName(text string) (string, error) {
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if unix.SignalNum(name) == 0 {
		return "", fmt.Errorf("unknown signal %q: must be a name such as SIGHUP", text)
	}
	return name, nil
}
