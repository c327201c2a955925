// Command nearcast is the one command of the project: the services a site runs
// (router, brain), the keys they share, and the dev cluster that runs a whole
// site on one machine.
//
//	nearcast dev up          a site on this machine, with sample apps
//	nearcast router …        the REST API, the beacon and the player
//	nearcast brain …         the session broker of a site
//	nearcast turn …          relays for people whose network blocks UDP
//	nearcast console …       the operators' page
//	nearcast ticket-key …    the keys that sign and check tickets
//	nearcast key …           the keys of customers, that sign launch tokens
//	nearcast token …         launch tokens
//	nearcast apikey …        the keys of customers' servers, that read and end sessions
//	nearcast webhook …       where customers' servers get events
//	nearcast session …       list, show, watch and end sessions
//	nearcast app …           checks of the jobs of apps
//	nearcast cloud …         all sites of a cluster: run, publish, replace nodes, find faults
//	nearcast provision …     secrets, configuration and draining of a node
//	nearcast version         which version this is
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/provision/cli"
)

func main() {
	os.Exit(run(root(), os.Args[1:], os.Stderr))
}

func root() *cobra.Command {
	root := &cobra.Command{
		Use:     "nearcast",
		Version: version.String(),
		Short:   "Stream interactive 3D applications from the nearest place to any browser",
		Long: `Stream interactive 3D applications from the nearest place to any browser.

A command that a signal interrupts ends with 128 and the number of the signal (130 after Ctrl-C)
as its exit status, and says what may be undone. A second signal ends it at once, without a word.
Services, nearcast dev up, session watch, and app advise once it measures, end with 0; services
and dev up end in order, however many signals come.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		routerCommand(),
		brainCommand(),
		turnCommand(),
		consoleCommand(),
		ticketKeyCommand(),
		keyCommand(),
		tokenCommand(),
		apiKeyCommand(),
		webhookCommand(),
		sessionCommand(),
		appCommand(),
		cloudCommand(),
		devCommand(),
		cli.Command(),
		versionCommand(),
	)
	root.SetVersionTemplate("{{.Version}}\n")
	return root
}
