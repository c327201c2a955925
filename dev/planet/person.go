package planet

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nearcast/nearcast/dev/planet/wan"
)

// Locate moves the person to a place: one of Places, or "latitude,longitude" in
// degrees. Paths that are cut stay cut.
func (p *Planet) Locate(name string) error {
	at, err := findPlace(name)
	if err != nil {
		return err
	}
	for _, site := range p.ends()[1:] {
		err := p.wan.Update(Person, site, func(path *wan.Path) {
			path.RTT, path.Jitter, path.Loss = personRTT(at, site), p.jitter, p.loss
		})
		if err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.place = name
	p.mu.Unlock()
	p.save()
	p.logger.Info("the person sits in " + name)
	return nil
}

// Place is where the person sits.
func (p *Planet) Place() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.place
}

// ends are the names of all ends of the WAN, the person's first.
func (p *Planet) ends() []string { return p.wan.Names() }

// Cut loses all packets between two ends of the WAN: sites, or Person. An empty b cuts
// a off from all others.
func (p *Planet) Cut(a, b string) error { return p.cut(a, b, true) }

// Heal undoes Cut, also in part. An empty b undoes all cuts of a, an empty a all cuts.
func (p *Planet) Heal(a, b string) error {
	if a != "" {
		return p.cut(a, b, false)
	}
	for _, end := range p.ends() {
		if err := p.cut(end, "", false); err != nil {
			return err
		}
	}
	return nil
}

func (p *Planet) cut(a, b string, cut bool) error {
	ends := p.ends()
	for _, name := range []string{a, b} {
		if name != "" && !slices.Contains(ends, name) {
			return fmt.Errorf("%s is %w; there are: %s", name, wan.ErrUnknown, strings.Join(ends, ", "))
		}
	}
	others := []string{b}
	if b == "" {
		others = slices.DeleteFunc(ends, func(end string) bool { return end == a })
	}
	for _, other := range others {
		if err := p.wan.Update(a, other, func(path *wan.Path) { path.Cut = cut }); err != nil {
			return err
		}
	}
	what := "WAN healed"
	if cut {
		what = "WAN cut"
	}
	p.save()
	p.logger.Info(what, "between", a, "and", strings.Join(others, ", "))
	return nil
}

// Nearest is the site with the least round trip to the person. Sites that the person
// is cut off from do not count. It is empty where there is none.
func (p *Planet) Nearest() string {
	nearest, least := "", time.Duration(0)
	for _, site := range p.Names() {
		path, err := p.wan.Path(Person, site)
		if err == nil && !path.Cut && (nearest == "" || path.RTT < least) {
			nearest, least = site, path.RTT
		}
	}
	return nearest
}

// URL is the page to open in the person's namespace: the router of the nearest site,
// as latency-based DNS would answer.
func (p *Planet) URL() string {
	if c := p.Site(p.Nearest()); c != nil {
		return c.URL
	}
	return ""
}

// Origins are the URLs of all routers. A browser treats their pages like pages by HTTPS
// with --unsafely-treat-insecure-origin-as-secure.
func (p *Planet) Origins() (urls []string) {
	for _, c := range p.all() {
		urls = append(urls, c.URL)
	}
	return urls
}

// Table shows the round trips between all sites, and those of the person, in ms.
func (p *Planet) Table() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	ends := p.ends()
	label := func(name string) string {
		if name == Person {
			return Person + " in " + p.Place()
		}
		return name
	}
	fmt.Fprint(table, "RTT in ms\t")
	for _, b := range ends[1:] {
		fmt.Fprintf(table, "%s\t", b)
	}
	fmt.Fprintln(table)
	for _, a := range ends {
		fmt.Fprintf(table, "%s\t", label(a))
		for _, b := range ends[1:] {
			path, err := p.wan.Path(a, b)
			switch {
			case err != nil: // a is b
				fmt.Fprint(table, "·\t")
			case path.Cut:
				fmt.Fprint(table, "cut\t")
			default:
				fmt.Fprintf(table, "%.0f\t", path.RTT.Seconds()*1000)
			}
		}
		fmt.Fprintln(table)
	}
	table.Flush()
	return text.String()
}
