package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/brain/nomad"
)

// adviseEvery is the time between two measurements of a seat. Nomad's agents measure each second.
const adviseEvery = 5 * time.Second

func appAdvise(f *appFlags) *cobra.Command {
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "advise [APP]",
		Short: "Say where a job asks for too much or too little CPU or memory",
		Long: `Measure the seats of an app, or of all apps, while people have them, and propose what
the job should ask for. Nomad places seats by that: too little slows people down or ends
their seats, too much fills nodes with nothing.

Every five seconds each seat that somebody plays in is asked for its CPU and memory, of at
most 50 seats an app. Proposed are, with a fifth more, the MHz that 95 % of the
measurements do not exceed, and, with a quarter more, the most memory of all, where that
differs from the job by more than a fifth. Memory includes the files that the kernel keeps
for the seat, so it is rather too much.

Ctrl-C ends the measuring early; the advice is of what was measured until then.

An app is what its people do: measure while many play, and as they usually play. Less than
30 measurements of 3 seats are too little for advice.`,
		Example: `  nearcast app advise viewer
  nearcast app advise --watch 10m --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch < 0 || watch > 24*time.Hour {
				return fmt.Errorf("--watch has to be a time up to 24h, not %s", watch)
			}
			checks, err := f.open()
			if err != nil {
				return err
			}
			defer checks.Close()
			uses, err := checks.Asks(cmd.Context(), args...)
			if err != nil {
				return err
			}
			if len(uses) > 0 {
				if !f.asJSON {
					fmt.Fprintf(cmd.ErrOrStderr(), "measuring for %s; Ctrl-C ends it early\n", watch)
				}
				if err := measure(cmd.Context(), checks, uses, watch); err != nil {
					return err
				}
			}
			advice := []nomad.Advice{} // "[]" in JSON
			for _, u := range uses {
				advice = append(advice, nomad.Advise(u))
			}
			if f.asJSON {
				return printJSON(cmd.OutOrStdout(), advice)
			}
			showAdvice(cmd.OutOrStdout(), advice)
			return nil
		},
	}
	cmd.Flags().DurationVar(&watch, "watch", time.Minute, "how long to measure")
	return cmd
}

// measure measures for a time, or until ctx ends, which is no error.
func measure(ctx context.Context, checks nomad.Checks, uses []*nomad.Use, watch time.Duration) error {
	began := time.Now()
	tick := time.NewTicker(adviseEvery)
	defer tick.Stop()
	for {
		if err := checks.Measure(ctx, uses); err != nil && ctx.Err() == nil {
			return err
		}
		if time.Since(began)+adviseEvery > watch {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// showAdvice writes what to change as a diff of the job's resources.
func showAdvice(w io.Writer, all []nomad.Advice) {
	if len(all) == 0 {
		fmt.Fprintln(w, "No app is registered. Register one with: nomad job run FILE")
	}
	for _, a := range all {
		for _, note := range a.Notes {
			fmt.Fprintf(w, "%s: note: %s\n", a.Job, note)
		}
		if a.Refused != "" {
			fmt.Fprintf(w, "%s: no advice: %s\n", a.Job, a.Refused)
			continue
		}
		fmt.Fprintf(w, "%s: %d measurements of %d seats with people\n", a.Job, a.Measured, a.Seats)
		fmt.Fprintln(w, "  resources {")
		show := func(name string, f nomad.Figure, why string) {
			if f.Proposed != f.Has {
				fmt.Fprintf(w, "-   %-6s = %d\n+   %-6s = %d # %s\n", name, f.Has, name, f.Proposed, why)
				return
			}
			fmt.Fprintf(w, "    %-6s = %d # is right: %s\n", name, f.Has, why)
		}
		if a.CPU.Has > 0 {
			show("cpu", a.CPU, fmt.Sprintf("95 %% of the measurements are at most %d MHz", a.CPU.Measured))
		}
		show("memory", a.Memory, fmt.Sprintf("the most was %d MB", a.Memory.Measured))
		fmt.Fprintln(w, "  }")
	}
}
