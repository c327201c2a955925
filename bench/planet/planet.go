package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/nearcast/nearcast/bench/report"
	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/dev/planet"
	"github.com/nearcast/nearcast/dev/planet/netns"
	"github.com/nearcast/nearcast/internal/wire"
)

// app is the test app's name on the planet.
const app = "bench-planet"

// start brings the planet up, without any app.
func start(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o, report: report.New(os.Stdout)}
	var err error
	if b.bin, err = filepath.Abs(o.bin); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "ncbench-"); err != nil {
		return nil, err
	}
	var log bytes.Buffer
	out := io.Writer(&log)
	if o.verbose {
		out = os.Stderr
	}
	err = os.Chmod(b.dir, 0o755) // apps run as another user
	if err == nil {
		say("starting %d sites in %s", len(o.sites), b.dir)
		start, cancel := context.WithTimeout(ctx, 15*time.Minute) // servers may have to be built
		defer cancel()
		b.planet, err = planet.Start(start, planet.Options{
			Options: dev.Options{Dir: filepath.Join(b.dir, "planet"), Bin: b.bin, Apps: []string{}, Log: out},
			Sites:   o.sites, Place: o.places[0], Jitter: o.jitter,
		})
	}
	if err != nil {
		os.Stderr.Write(log.Bytes())
		return nil, errors.Join(fmt.Errorf("start the planet: %w", err), os.RemoveAll(b.dir))
	}
	return b, nil
}

func (b *bench) close() error {
	say("ending the planet")
	return errors.Join(b.planet.Close(), os.RemoveAll(b.dir))
}

// seats registers the test app, with a warm seat at each site.
func (b *bench) seats(ctx context.Context) error {
	say("starting a warm seat at each site")
	_, err := b.planet.RunJob(ctx, filepath.Join("e2e", "jobs", "testapp.nomad.hcl"), map[string]string{
		"name": app, "testapp": filepath.Join(b.bin, "testapp"), "warm": "1", "max": "2", "reconnect_grace": "10s"})
	return err
}

// ready waits until each router knows an idle seat at each site.
func (b *bench) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, at := range b.sites {
		err := until(ctx, at+" knows an idle seat at each site", func() error {
			seen, err := b.sitesSeen(ctx, at)
			if err != nil {
				return err
			}
			for _, name := range b.sites {
				i := slices.IndexFunc(seen.Sites, func(s wire.SiteView) bool { return s.Site == name })
				if i < 0 {
					return fmt.Errorf("%s is not known", name)
				}
				if s := seen.Sites[i]; !s.Healthy || s.Apps[app].Idle == 0 {
					return fmt.Errorf("%s: healthy %v (%s), %+v", name, s.Healthy, s.Unhealthy, s.Apps[app])
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sitesSeen is what a site's router knows about all sites. It is asked from the site itself.
func (b *bench) sitesSeen(ctx context.Context, at string) (seen wire.SitesResponse, err error) {
	return seen, b.inside(at, func(c *http.Client) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return get(ctx, c, b.planet.Site(at).URL+"/v1/sites?distances=all", &seen)
	})
}

// inside runs act in a site's namespace, without the WAN in between.
func (b *bench) inside(site string, act func(*http.Client) error) error {
	ns, err := netns.Open(dev.Namespace(b.planet.Dir, site))
	if err != nil {
		return err
	}
	defer ns.Close()
	transport := ns.Transport()
	defer transport.CloseIdleConnections()
	return act(&http.Client{Transport: transport})
}

func get(ctx context.Context, c *http.Client, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// rtt is the true round trip between two ends of the WAN in ms.
func (b *bench) rtt(from, to string) (float64, error) {
	path, err := b.planet.WAN().Path(from, to)
	return ms(path.RTT), err
}

// best is the site with the least true round trip to the person, except without.
func (b *bench) best(without string) (site string, rtt float64, err error) {
	for _, s := range b.sites {
		away, err := b.rtt(planet.Person, s)
		if err != nil {
			return "", 0, err
		}
		if s != without && (site == "" || away < rtt) {
			site, rtt = s, away
		}
	}
	return site, rtt, nil
}

// noteLoad records how busy the machine is.
func (b *bench) noteLoad() error {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	var load float64
	if _, err := fmt.Sscan(string(text), &load); err != nil {
		return fmt.Errorf("parse /proc/loadavg: %w", err)
	}
	b.loads = append(b.loads, load/float64(runtime.NumCPU()))
	return nil
}

// until retries try until it succeeds.
func until(ctx context.Context, what string, try func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w (last: %w)", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// sleep waits until d has passed or ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
