package main

import (
	"context"
	"fmt"
	"maps"
	"strconv"
)

// displayServers are the X servers of seats without a GPU, and whether a job has to take touches to get them.
var displayServers = []struct {
	name  string
	touch bool
}{{"xvfb", false}, {"xdummy", true}}

// servers has seats with each X server in turns: how long they take to start, and key → photon.
func (b *bench) servers(ctx context.Context) error {
	starts, photons := map[string][]float64{}, map[string][]float64{}
	for i := range b.cold + 1 { // the first of each reads its files from disk, and does not count
		for _, server := range displayServers {
			app := fmt.Sprintf("bench-%s-%d", server.name, i)
			vars := map[string]string{"warm": "0", "max": "1", "memory": "256", "touch": strconv.FormatBool(server.touch)}
			stop, err := b.runApp(ctx, app, vars)
			if err != nil {
				return err
			}
			_, steps, err := b.firstFrame(ctx, app, false)
			stop()
			if err != nil {
				return fmt.Errorf("start a seat with %s: %w", server.name, err)
			}
			if i > 0 {
				starts[server.name] = append(starts[server.name], steps["ready"]-steps["streamHost"])
			}
		}
	}
	const rounds = 3
	for i := range rounds {
		for _, server := range displayServers {
			vars := map[string]string{"name": fmt.Sprintf("bench-%s-keys-%d", server.name, i), "memory": "256", "touch": strconv.FormatBool(server.touch)}
			err := b.stream(ctx, streaming{fps: 30, picture: still}, vars, func(ctx context.Context, s streaming) error {
				ms, err := b.press(ctx, s, b.presses/rounds)
				photons[server.name] = append(photons[server.name], ms...)
				return err
			})
			if err != nil {
				return fmt.Errorf("press keys with %s: %w", server.name, err)
			}
		}
	}
	for _, server := range displayServers {
		labels := map[string]any{"server": server.name}
		if err := b.report.Line("seat_start", "ms", starts[server.name], labels); err != nil {
			return err
		}
		labels = maps.Clone(labels)
		labels["fps"] = 30
		if err := b.report.Line("input_to_photon", "ms", photons[server.name], labels); err != nil {
			return err
		}
	}
	return nil
}
