// Command nomad-device-seats is the Nomad device plugin that offers GPUs as seats. Nomad starts it:
// put it into the agent's plugin_dir.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"
	"github.com/hashicorp/nomad/plugins/base"

	"github.com/nearcast/nearcast/device"
	"github.com/nearcast/nearcast/internal/version"
)

func main() {
	if os.Getenv(base.Handshake.MagicCookieKey) != base.Handshake.MagicCookieValue {
		fmt.Fprintf(os.Stderr, "%s %s is a plugin: Nomad starts it. Put it into the agent's plugin_dir.\n", device.Name, version.String())
		os.Exit(1)
	}
	// Standard error goes to the agent, which may be killed while this process goes on.
	signal.Ignore(syscall.SIGPIPE)
	plugins.Serve(func(log hclog.Logger) any { return device.New(log, nvml.New()) })
}
