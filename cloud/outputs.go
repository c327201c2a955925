package cloud

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Outputs is what Terraform says of a cluster: "terraform output -json". A cluster without
// Terraform has a file of the same form, with url and sites; of a site only router_url,
// brain_url and edge_nodes are needed.
type Outputs struct {
	URL   string // where people press Play
	Sites []Site // the primary one first, then by name
	// Connect and OperatorSecret are commands for a shell: a tunnel to a site, and its tokens.
	Connect        map[string]string
	OperatorSecret string
}

// Site is one site of the outputs.
type Site struct {
	Name      string   `json:"-"`
	Primary   bool     `json:"primary"`
	RouterURL string   `json:"router_url"`
	BrainURL  string   `json:"brain_url"`
	TURNURLs  []string `json:"turn_urls"`
	TURNPorts string   `json:"turn_ports"`
	// ContentBucket has the files of apps; SystemBucket the reasons of nodes that were given up, and
	// brains' events.
	ContentBucket string            `json:"content_bucket"`
	SystemBucket  string            `json:"system_bucket"`
	Backups       Place             `json:"backups"` // of Consul and Nomad
	Servers       int               `json:"servers"` // default 3
	EdgeNodes     int               `json:"edge_nodes"`
	Groups        map[string]string `json:"groups"` // auto scaling group by role
	Pools         map[string]Pool   `json:"pools"`
	// Alarms say that the site serves people worse than before.
	Alarms  []string          `json:"alarms"`
	Secrets map[string]string `json:"secrets"`
}

// Place is a bucket and its region.
type Place struct {
	Bucket string `json:"bucket"`
	Region string `json:"region"`
}

// Pool is a pool of stream nodes with its auto scaling group.
type Pool struct {
	Group string `json:"group"`
	Min   int    `json:"min"`
	Max   int    `json:"max"`
}

// Roles are the kinds of nodes, in the order in which they are replaced: clients must not be
// newer than servers.
var Roles = []string{"server", "edge", "stream-cpu", "stream-gpu"}

// ReadOutputs reads and checks what Terraform printed.
func ReadOutputs(text []byte) (o Outputs, err error) {
	var raw map[string]struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return o, fmt.Errorf("read the outputs: %w; they have to be all that terraform output -json prints", err)
	}
	if len(raw["sites"].Value) == 0 {
		return o, errors.New("the outputs have no sites: give all that terraform output -json prints (of one output, leave out its name), after terraform apply")
	}
	sites := map[string]Site{}
	for name, into := range map[string]any{"url": &o.URL, "sites": &sites, "connect": &o.Connect, "operator_secret": &o.OperatorSecret} {
		if value := raw[name].Value; len(value) > 0 {
			if err := json.Unmarshal(value, into); err != nil {
				return o, fmt.Errorf("read the output %s: %w", name, err)
			}
		}
	}
	if len(sites) == 1 {
		for name, site := range sites {
			site.Primary = true
			sites[name] = site
		}
	}
	for name, site := range sites {
		site.Name = name
		site.Servers = cmp.Or(site.Servers, 3)
		o.Sites = append(o.Sites, site)
	}
	slices.SortFunc(o.Sites, func(a, b Site) int {
		if a.Primary != b.Primary {
			return map[bool]int{true: -1, false: 1}[a.Primary]
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return o, o.check()
}

func (o Outputs) check() error {
	if len(o.Sites) == 0 {
		return errors.New("the outputs have no site: terraform apply has not made one yet")
	}
	var wrong []error
	primaries := 0
	for _, s := range o.Sites {
		if s.Primary {
			primaries++
		}
		complain := func(format string, args ...any) {
			wrong = append(wrong, fmt.Errorf("the outputs of site %s: %s", s.Name, fmt.Sprintf(format, args...)))
		}
		if s.EdgeNodes < 2 {
			complain("edge_nodes is %d; routers and brains need 2 at least, so that a new version finds a free node. If it is missing, run terraform apply with this release", s.EdgeNodes)
		}
		for name, u := range map[string][2]string{"router_url": {s.RouterURL, "http"}, "brain_url": {s.BrainURL, "ws"}} {
			parsed, err := url.Parse(u[0])
			if err != nil || parsed.Host == "" || parsed.Scheme != u[1] && parsed.Scheme != u[1]+"s" {
				complain("%s is %q; it has to begin with %ss://", name, u[0], u[1])
			}
		}
		for name, p := range s.Pools {
			if p.Group == "" || p.Min < 0 || p.Max < p.Min {
				complain("pool %s has group %q, min %d and max %d", name, p.Group, p.Min, p.Max)
			}
		}
	}
	if primaries != 1 {
		wrong = append(wrong, fmt.Errorf("the outputs have %d primary sites; exactly one has primary = true", primaries))
	}
	return errors.Join(wrong...)
}

// Only are the sites of these names, all of them without names.
func (o Outputs) Only(names []string) ([]Site, error) {
	if len(names) == 0 {
		return o.Sites, nil
	}
	var out []Site
	for _, name := range names {
		i := slices.IndexFunc(o.Sites, func(s Site) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no site %q; there are: %s", name, strings.Join(o.Names(), ", "))
		}
		if !slices.ContainsFunc(out, func(s Site) bool { return s.Name == name }) {
			out = append(out, o.Sites[i])
		}
	}
	return out, nil
}

// Names are those of all sites.
func (o Outputs) Names() (names []string) {
	for _, s := range o.Sites {
		names = append(names, s.Name)
	}
	return names
}

// Primary is the primary site.
func (o Outputs) Primary() Site { return o.Sites[0] }

// Domain is the name that people know the cluster by.
func (o Outputs) Domain() string {
	if u, err := url.Parse(o.URL); err == nil && u.Hostname() != "" {
		return u.Hostname()
	}
	return "nearcast"
}
