package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// runApp registers the test app and returns its id and a function that takes it
// away again with all its seats.
func (b *bench) runApp(ctx context.Context, name string, vars map[string]string) (stop func(), err error) {
	all := map[string]string{"name": name, "testapp": filepath.Join(b.bin, "testapp")}
	maps.Copy(all, vars)
	if _, err := b.site.RunJob(ctx, filepath.Join("e2e", "jobs", "testapp.nomad.hcl"), all); err != nil {
		return nil, err
	}
	return func() {
		jobs := b.site.Nomad().Jobs()
		if _, _, err := jobs.Deregister(name, true, nil); err != nil {
			say("take %s away: %v", name, err)
		}
		children, _, err := jobs.PrefixList(name + "/")
		if err != nil {
			say("list the seats of %s: %v", name, err)
		}
		for _, job := range children {
			if _, _, err := jobs.Deregister(job.ID, true, nil); err != nil {
				say("stop %s: %v", job.ID, err)
			}
		}
	}, nil
}

// open opens the app's page and waits until Play can be pressed.
func (b *bench) open(ctx context.Context, app string) (*browser.Page, error) {
	page, err := b.chrome.Open(ctx, b.site.URL+"/play/"+app)
	if err != nil {
		return nil, err
	}
	err = page.Until(ctx, "window.nearcast && nearcast.state === 'ready' && document.querySelector('.play-button')")
	if err != nil {
		page.Close()
		return nil, err
	}
	return page, nil
}

// play presses Play and waits for the first frame.
func (b *bench) play(ctx context.Context, page *browser.Page) error {
	if err := page.Click(ctx, ".play-button"); err != nil {
		return err
	}
	return page.Until(ctx, "nearcast.firstFrameMS !== null && nearcast.state === 'streaming'")
}

// leave ends the session and closes the page.
func (b *bench) leave(ctx context.Context, page *browser.Page) error {
	defer page.Close()
	if err := page.Eval(ctx, `(() => { const end = document.querySelector('.tool.end'); end.click(); end.click(); })()`, nil); err != nil {
		return err
	}
	return page.Until(ctx, "nearcast.state === 'ended'")
}

// settle waits until the machine has calmed down after a seat was started or
// ended: until less than a tenth of it was busy for half a second.
func settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	busy, all, err := cpuTimes()
	for err == nil {
		select {
		case <-ctx.Done():
			return nil // a machine that is never calm is measured as it is
		case <-tick.C:
		}
		var busyNow, allNow float64
		busyNow, allNow, err = cpuTimes()
		if (busyNow-busy)/(allNow-all) < 0.1 {
			return nil
		}
		busy, all = busyNow, allNow
	}
	return err
}

// cpuTimes are the machine's busy and whole CPU times since boot, in ticks.
func cpuTimes() (busy, all float64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	var t [8]float64 // user nice system idle iowait irq softirq steal
	if _, err := fmt.Sscanf(string(text), "cpu %f %f %f %f %f %f %f %f",
		&t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]); err != nil {
		return 0, 0, fmt.Errorf("parse /proc/stat: %w", err)
	}
	for _, v := range t {
		all += v
	}
	return all - t[3] - t[4], all, nil
}
