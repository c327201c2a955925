// Command nomad-autoscaler-seats is a plugin of nomad-autoscaler, which starts it twice: as an
// APM and as a strategy. Put it into the autoscaler's plugin_dir.
package main

import (
	"fmt"
	"os"
	_ "time/tzdata" // schedules name time zones, and a task may see none

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/plugins"

	"github.com/nearcast/nearcast/autoscaler"
	"github.com/nearcast/nearcast/internal/version"
)

func main() {
	if os.Getenv(plugins.Handshake.MagicCookieKey) != plugins.Handshake.MagicCookieValue {
		fmt.Fprintf(os.Stderr, "%s %s is a plugin: nomad-autoscaler starts it. Put it into the autoscaler's plugin_dir; see jobs/platform/autoscaler.nomad.hcl.\n",
			autoscaler.Name, version.String())
		os.Exit(1)
	}
	switch kind := append(os.Args, "")[1]; kind {
	case "apm":
		var apm *autoscaler.APM
		plugins.Serve(func(log hclog.Logger) any { apm = autoscaler.NewAPM(log); return apm })
		apm.Close()
	case "strategy":
		plugins.Serve(func(log hclog.Logger) any { return autoscaler.NewStrategy(log) })
	default:
		fmt.Fprintf(os.Stderr, "%s: args must be [\"apm\"] or [\"strategy\"], not %q\n", autoscaler.Name, kind)
		os.Exit(1)
	}
}
