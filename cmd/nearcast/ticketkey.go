package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/ticket"
)

func ticketKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ticket-key DIR",
		Short: "Make the keys that sign and check tickets",
		Long: `Make an Ed25519 key pair in DIR: ` + ticket.PrivateKeyFile + ` for routers, which sign tickets
with it, and ` + ticket.PublicKeysFile + ` for brains, nodes and routers, which check them.

A private key that is there is never replaced. To change keys without a session
noticing:

  1. move ` + ticket.PrivateKeyFile + ` away and run this again: the new public key joins the old
     in ` + ticket.PublicKeysFile + `
  2. bring ` + ticket.PublicKeysFile + ` everywhere; it is read again without a restart
  3. restart the routers with the new ` + ticket.PrivateKeyFile + `
  4. an hour later, take the old public key, now the last block, out of
     ` + ticket.PublicKeysFile,
		Example: "  nearcast ticket-key /etc/nearcast",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := ticket.GenerateKeys(args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s  for routers; keep it secret\n%s  for routers, brains and nodes\n",
				filepath.Join(args[0], ticket.PrivateKeyFile), filepath.Join(args[0], ticket.PublicKeysFile))
			return nil
		},
	}
}
