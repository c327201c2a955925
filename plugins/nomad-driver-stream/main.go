// Command nomad-driver-stream is the Nomad task driver "stream". Nomad starts
// it: put it into the agent's plugin_dir.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"
	"github.com/hashicorp/nomad/plugins/base"

	"github.com/nearcast/nearcast/driver"
	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == wire.CheckArg { // nearcast app check
		if err := driver.CheckTask(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "nomad-driver-stream:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(base.Handshake.MagicCookieKey) != base.Handshake.MagicCookieValue {
		fmt.Fprintf(os.Stderr, "nomad-driver-stream %s is a plugin: Nomad starts it. Put it into the agent's plugin_dir.\n", version.String())
		os.Exit(1)
	}
	// Standard error goes to the agent, which may be killed while this process goes
	// on: the next log line must not end it.
	signal.Ignore(syscall.SIGPIPE)
	plugins.ServeCtx(func(ctx context.Context, log hclog.Logger) any {
		return driver.New(ctx, log)
	})
}
