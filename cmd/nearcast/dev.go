package main

import (
	"github.com/spf13/cobra"
)

// devCommand is a whole site on this machine, or a whole planet.
func devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole site on this machine, or several with a WAN between them",
		Long: `Run a whole site on this machine: Consul, Nomad with the stream driver, an S3 server,
a router and a brain, with sample apps. Everything listens on 127.0.0.1 and writes
into one folder.

With --sites it is a planet: several sites, each in a network namespace with an address
of its own, joined by a WAN with the delays of the real one. A person has a namespace
too, and can be moved and cut off while the planet runs. A planet needs root.`,
	}
	dir := cmd.PersistentFlags().String("dir", ".nearcast", "folder that the cluster writes into")
	cmd.AddCommand(devUp(dir), devDown(dir), devStatus(dir), devLogs(dir), devEnv(dir),
		devLocate(dir), devCut(dir), devHeal(dir), devExec(dir), devPackages(), devTools())
	return cmd
}
