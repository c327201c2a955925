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
		Long: `Make an Ed25519 key pair in DIR: ` + ticket.PrivateKeyFile + `, with which routers sign tickets,
and ` + ticket.PublicKeysFile + `, with which brains, nodes and routers check them.

An existing private key is never replaced. To change the keys without ending a
session:

  1. move ` + ticket.PrivateKeyFile + ` away and run this command again: it adds the new public
     key to ` + ticket.PublicKeysFile + `, and keeps the old one
  2. copy ` + ticket.PublicKeysFile + ` to all nodes; it is read again without a restart
  3. restart the routers with the new ` + ticket.PrivateKeyFile + `
  4. an hour later, remove the old public key, the last block, from
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
