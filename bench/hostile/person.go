package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/prometheus/procfs"

	"github.com/nearcast/nearcast/bench/cgroup"
	"github.com/nearcast/nearcast/internal/wire"
)

// visit is what an honest person felt, in ms.
type visit struct {
	launched, connected, granted float64

	brain string // where the router sent them
}

// visit launches, waits for the grant, and leaves.
func (b *bench) visit(ctx context.Context) (v visit, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	begin := time.Now()
	since := func() float64 { return float64(time.Since(begin).Microseconds()) / 1000 }
	body, err := json.Marshal(wire.LaunchRequest{App: b.app})
	if err != nil {
		return v, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.router+"/v1/sessions", bytes.NewReader(body))
	if err != nil {
		return v, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return v, fmt.Errorf("launch: %w", err)
	}
	defer resp.Body.Close()
	var launch wire.LaunchResponse
	if resp.StatusCode != http.StatusCreated {
		return v, fmt.Errorf("launch: status %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&launch); err != nil {
		return v, fmt.Errorf("read the launch: %w", err)
	}
	v.launched, v.brain = since(), launch.BrainURL
	ws, _, err := websocket.Dial(ctx, launch.BrainURL, nil)
	if err != nil {
		return v, fmt.Errorf("connect to the brain: %w", err)
	}
	defer ws.CloseNow()
	v.connected = since()
	if err := wsjson.Write(ctx, ws, wire.Message{Type: wire.MsgHello, Ticket: launch.Ticket}); err != nil {
		return v, fmt.Errorf("say hello: %w", err)
	}
	for v.granted == 0 {
		var m wire.Message
		if err := wsjson.Read(ctx, ws, &m); err != nil {
			return v, fmt.Errorf("wait for the grant: %w", err)
		}
		switch m.Type {
		case wire.MsgGranted:
			v.granted = since()
		case wire.MsgRefused, wire.MsgEnded:
			return v, fmt.Errorf("wait for the grant: %s: %+v", m.Type, m.Problem)
		}
	}
	if err := wsjson.Write(ctx, ws, wire.Message{Type: wire.MsgLeave}); err != nil {
		return v, fmt.Errorf("leave: %w", err)
	}
	var last wire.Message
	for wsjson.Read(ctx, ws, &last) == nil { // until the seat has said that it ended
	}
	return v, nil
}

// under measures honest launches while the attacker's process does something.
func (b *bench) under(ctx context.Context, load string) (granted []float64, err error) {
	say("%s for %s", load, b.phase)
	ctx, cancel := context.WithTimeout(ctx, b.phase+time.Minute)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	attacker := exec.CommandContext(ctx, self, "-attack", load, "-router", b.router, "-brain", b.brain, "-app", b.app, "-for", b.phase.String(),
		"-sockets", fmt.Sprint(b.sockets), "-launches", fmt.Sprint(b.launches), "-networks", fmt.Sprint(b.networks))
	attacker.Stderr = os.Stderr
	var did bytes.Buffer
	attacker.Stdout = &did
	limited, err := cgroup.NewQuota("hostile", b.quota, 100*time.Millisecond)
	if err != nil {
		say("no CPU quota for the attacker: %v", err)
	}
	defer func() {
		if err := limited.Remove(); err != nil {
			say("%v", err)
		}
	}()
	if err := attacker.Start(); err != nil {
		return nil, fmt.Errorf("start the attacker: %w", err)
	}
	if err := limited.Add(attacker.Process.Pid); err != nil {
		say("no CPU quota for the attacker: %v", err)
	}
	over := make(chan error, 1)
	go func() { over <- attacker.Wait() }()

	visits := map[string][]float64{}
	failed := 0.0
	memory, work := map[string]float64{}, newWork(b.site.State().Processes)
	next, look, count := time.NewTicker(b.every), time.NewTicker(200*time.Millisecond), time.NewTicker(time.Second)
	defer count.Stop()
	defer next.Stop()
	defer look.Stop()
	for running := true; running; {
		select {
		case err = <-over:
			running = false
		case <-look.C:
			b.memory(memory)
		case <-count.C:
			work.look()
		case <-next.C:
			if err := b.site.WaitIdle(ctx, b.app); err != nil {
				return nil, err
			}
			v, err := b.visit(ctx)
			if err != nil {
				say("an honest launch failed: %v", err)
				failed++
				continue
			}
			for what, ms := range map[string]float64{"launched": v.launched, "connected": v.connected, "granted": v.granted} {
				visits[what] = append(visits[what], ms)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("attack: %w", err)
	}
	cores := work.cores()
	if used := attacker.ProcessState; used != nil {
		cores["attacker"] = (used.UserTime() + used.SystemTime()).Seconds() / b.phase.Seconds()
	}
	return visits["granted"], b.print(load, visits, failed, memory, cores, did.Bytes())
}

func (b *bench) print(load string, visits map[string][]float64, failed float64, memory, cores map[string]float64, did []byte) error {
	labels := map[string]any{"load": load}
	for _, what := range []string{"launched", "connected", "granted"} {
		if err := b.report.Line(what, "ms", visits[what], labels); err != nil {
			return err
		}
	}
	if err := b.report.Value("failed", "", failed, labels); err != nil {
		return err
	}
	for process, mb := range memory {
		if err := b.report.Value("rss", "MB", mb, map[string]any{"load": load, "process": process}); err != nil {
			return err
		}
	}
	for _, process := range slices.Sorted(maps.Keys(cores)) {
		if err := b.report.Value("cpu", "cores", cores[process], map[string]any{"load": load, "process": process}); err != nil {
			return err
		}
	}
	if load == loadBurn {
		return nil
	}
	var counts map[string]int64
	if err := json.Unmarshal(did, &counts); err != nil {
		return fmt.Errorf("read what the attacker did: %w", err)
	}
	for what, n := range counts {
		if err := b.report.Value("attacker", "", float64(n), map[string]any{"what": what}); err != nil {
			return err
		}
	}
	return nil
}

// memory keeps the highest resident memory of router and brain, in MB.
func (b *bench) memory(highest map[string]float64) {
	for _, p := range b.site.State().Processes {
		if p.Name != "router" && p.Name != "brain" {
			continue
		}
		proc, err := procfs.NewProc(p.PID)
		if err != nil {
			continue
		}
		if stat, err := proc.Stat(); err == nil {
			highest[p.Name] = max(highest[p.Name], float64(stat.ResidentMemory())/(1<<20))
		}
	}
}
