package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/provision/cli"
)

// leaves is an annotation of a command: what is undone where it is interrupted. It has to be true
// whatever was begun by then.
const leaves = "nearcast.leaves"

// interruption is a signal that ends a command. It is a context.Canceled, as parts of a command
// take it for that.
type interruption struct{ signal syscall.Signal }

func (i interruption) Error() string { return i.signal.String() }
func (i interruption) Unwrap() error { return context.Canceled }

// run runs the command of the arguments until it returns, or a signal ends it, and returns the exit
// status: as shells have it, 128 and the signal where it was not complete. A service is complete
// when a signal ends it. A second signal ends the process at once, but not a service: it has to end in
// order.
func run(root *cobra.Command, args []string, complaints io.Writer) int {
	root.SetArgs(args)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	called, _, _ := root.Find(args)
	go func() {
		select {
		case s := <-signals:
			if !cli.IsService(called) {
				signal.Stop(signals)
			}
			cancel(interruption{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	cmd, err := root.ExecuteContextC(ctx)
	by := interruption{}
	interrupted := errors.As(context.Cause(ctx), &by)
	switch {
	case err == nil:
		return 0
	case !interrupted:
		fmt.Fprintln(complaints, "nearcast:", err)
		return 1
	case cli.IsService(cmd):
		if errors.Is(err, context.Canceled) {
			return 0
		}
		fmt.Fprintln(complaints, "nearcast:", err)
		return 1
	}
	name := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
	fmt.Fprintf(complaints, "nearcast: %s was interrupted, and is not complete: %v\n", name, err)
	dry := cmd.Flags().Lookup("dry-run")
	if left := cmd.Annotations[leaves]; left != "" && (dry == nil || dry.Value.String() != "true") {
		fmt.Fprintln(complaints, "nearcast:", left)
	}
	return 128 + int(by.signal)
}
