// Command nomad-driver-stream is the Nomad task driver "stream". Nomad starts
// it: put it into the agent's plugin_dir, and stream-host beside it.
package main

import (
	"context"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"

	"github.com/nearcast/nearcast/driver"
)

func main() {
	plugins.ServeCtx(func(ctx context.Context, log hclog.Logger) any {
		return driver.New(ctx, log)
	})
}
