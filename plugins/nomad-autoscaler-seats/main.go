// Command nomad-autoscaler-seats is a plugin of nomad-autoscaler, which starts it twice: as an
// APM and as a strategy. Put it into the autoscaler's plugin_dir.
//
// The autoscaler starts no plugin again that has died. So the process that it starts serves
// nothing: it starts the one that does, and if that dies it ends the autoscaler, which Nomad starts
// again with all of its plugins.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	_ "time/tzdata" // schedules name time zones, and a task may see none

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/plugins"

	"github.com/nearcast/nearcast/autoscaler"
	"github.com/nearcast/nearcast/internal/version"
)

// serves is set for the process that serves.
const serves = "NEARCAST_AUTOSCALER_PLUGIN_SERVES"

func main() {
	if os.Getenv(plugins.Handshake.MagicCookieKey) != plugins.Handshake.MagicCookieValue {
		fmt.Fprintf(os.Stderr, "%s %s is a plugin: nomad-autoscaler starts it. Put it into the autoscaler's plugin_dir; see jobs/platform/autoscaler.nomad.hcl.\n",
			autoscaler.Name, version.String())
		os.Exit(1)
	}
	kind := append(os.Args, "")[1]
	switch {
	case kind != "apm" && kind != "strategy":
		fmt.Fprintf(os.Stderr, "%s: args must be [\"apm\"] or [\"strategy\"], not %q\n", autoscaler.Name, kind)
		os.Exit(1)
	case os.Getenv(serves) == "":
		os.Exit(watch(kind))
	case kind == "apm":
		var apm *autoscaler.APM
		plugins.Serve(func(log hclog.Logger) any { apm = autoscaler.NewAPM(log); return apm })
		apm.Close()
	default:
		var strategy *autoscaler.Strategy
		plugins.Serve(func(log hclog.Logger) any { strategy = autoscaler.NewStrategy(log); return strategy })
		strategy.Close()
	}
}

// watch runs the process that serves, and ends the autoscaler if it dies.
func watch(kind string) (status int) {
	runtime.LockOSThread() // Pdeathsig is of the thread
	asked := os.Getppid()
	signal.Ignore(os.Interrupt) // as go-plugin does: the autoscaler ends its plugins
	log := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, JSONFormat: true})
	cmd := exec.Command("/proc/self/exe", kind)
	cmd.Env = append(os.Environ(), serves+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if err == nil {
		return 0
	}
	log.Error("the plugin died, and the autoscaler ends, for Nomad to start both again", "plugin", autoscaler.Name, "kind", kind, "error", err)
	if os.Getppid() == asked {
		syscall.Kill(asked, syscall.SIGTERM)
	}
	return 1
}
