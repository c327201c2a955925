package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// runApp registers the test app. stop removes it with all its seats.
func (b *bench) runApp(ctx context.Context, name string, vars map[string]string) (stop func(), err error) {
	all := map[string]string{"name": name, "testapp": filepath.Join(b.bin, "testapp")}
	maps.Copy(all, vars)
	if _, err := b.site.RunJob(ctx, filepath.Join("e2e", "jobs", "testapp.nomad.hcl"), all); err != nil {
		return nil, err
	}
	return func() {
		jobs := b.site.Nomad().Jobs()
		if _, _, err := jobs.Deregister(name, true, nil); err != nil {
			say("cannot remove %s: %v", name, err)
		}
		children, _, err := jobs.PrefixList(name + "/")
		if err != nil {
			say("cannot list the seats of %s: %v", name, err)
		}
		for _, job := range children {
			if _, _, err := jobs.Deregister(job.ID, true, nil); err != nil {
				say("cannot stop %s: %v", job.ID, err)
			}
		}
	}, nil
}

// waitIdle waits until an app has so many idle seats, as pages are told.
func (b *bench) waitIdle(ctx context.Context, app string, want int) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for want > 0 {
		apps, err := b.site.AppList(ctx)
		for _, a := range apps.Apps {
			if a.ID == app && a.Sites[dev.Site].Idle >= want {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s has not %d idle seats: %w", app, want, errors.Join(ctx.Err(), err))
		}
	}
	return nil
}

// open opens the app's page, and waits until Play can be pressed.
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

// play presses Play, and waits for the first frame.
func (b *bench) play(ctx context.Context, page *browser.Page) error {
	if err := page.Click(ctx, ".play-button"); err != nil {
		return err
	}
	return page.Until(ctx, "nearcast.firstFrameMS !== null && nearcast.state === 'streaming'")
}

// leave ends the session, and closes the page.
func (b *bench) leave(ctx context.Context, page *browser.Page) error {
	defer page.Close()
	if err := page.Eval(ctx, `(() => { const end = document.querySelector('.tool.end'); end.click(); end.click(); })()`, nil); err != nil {
		return err
	}
	return page.Until(ctx, "nearcast.state === 'ended'")
}

// settle waits until the machine is idle after the start or end of a seat: until less
// than a tenth of its CPU time was used for half a second.
func settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	busy, all, err := cpuTimes()
	for err == nil {
		select {
		case <-ctx.Done():
			return nil // a machine that stays busy is measured as it is
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

// cpuTimes are the machine's busy and total CPU times since boot, in seconds.
func cpuTimes() (busy, all float64, err error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0, 0, err
	}
	t := stat.CPUTotal
	busy = t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ + t.Steal
	return busy, busy + t.Idle + t.Iowait, nil
}
