package cloud

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

const mendLink = "the peering of the two networks, its routes, and the security group of servers (Consul: ports 8300 and 8302, Nomad: 4647 and 4648)"

// reached: whether Consul and Nomad of the site answer. Servers of one site ask those of another for the
// operator, so where both are silent it is mostly the link between the two.
func (d *diagnosis) reached() {
	if d.noConsul == nil && d.noNomad == nil {
		return
	}
	if d.through == "" || d.through == d.site.Name || !cut(d.noConsul) || !cut(d.noNomad) {
		for _, of := range []struct {
			name string
			err  error
		}{{"Consul", d.noConsul}, {"Nomad", d.noNomad}} {
			if of.err != nil {
				d.found = append(d.found, silent(of.name, d.site.Name, of.err))
			}
		}
		return
	}
	evidence := fmt.Sprintf("Consul: %v; Nomad: %v", d.noConsul, d.noNomad)
	if !slices.Contains(d.sees, d.site.Name) {
		evidence += fmt.Sprintf("; Consul of %s knows only: %s", d.through, list(d.sees))
	}
	if d.router != nil && !d.router.Stale { // one that is stale does not see the servers of its own site
		d.wrong("the link between "+d.through+" and "+d.site.Name+" is cut", evidence+"; people reach the router of "+d.site.Name, mendLink)
		return
	}
	d.wrong("the servers of "+d.through+" do not reach those of "+d.site.Name+": the link between the two is cut, or "+d.site.Name+" is lost", evidence,
		"open a tunnel to a server of "+d.site.Name+", and run the command through it with --site "+d.site.Name+". If it answers, it is the link: "+mendLink+". If not, docs/RECOVER.md says what to do where servers are gone")
}

// cut reports whether an error is that of a site that is not reached: its servers said nothing.
func cut(err error) bool {
	return err != nil && !refused(err) && !strings.Contains(err.Error(), "No cluster leader")
}

// silent is that an API of a site does not answer.
func silent(what, site string, err error) Finding {
	do := "look at the servers of the site: are they running, and have they a leader? docs/RECOVER.md says what to do where two or three are gone"
	if refused(err) {
		do = "give the operator's tokens: " + giveTokens
	}
	return Finding{Site: site, Problem: what + " of " + site + " does not answer", Evidence: err.Error(), Do: do}
}

// links: whether the site sees the others. Consul names the sites that the asked server knows, whichever site it
// is asked for, and a site that does not answer any more for days.
func (d *diagnosis) links(looks []*look, names []string) {
	for _, other := range names {
		if other == d.site.Name {
			continue
		}
		answers := func(l *look) bool { return l.site.Name == other }
		if d.through == d.site.Name && !slices.Contains(d.sees, other) && !slices.ContainsFunc(looks, answers) {
			d.wrong("Consul's servers do not see "+other, "they know: "+list(d.sees), mendLink)
		}
		if d.router == nil {
			continue
		}
		view, known := wire.SiteView{}, false
		for _, v := range d.router.Sites {
			if v.Site == other {
				view, known = v, true
			}
		}
		switch {
		case !known:
			d.wrong("the router has no facts of "+other, "GET "+d.site.RouterURL+"/v1/sites does not name it", "is a router registered there? nearcast cloud doctor --site "+other)
			continue
		case !view.Healthy:
			d.wrong("the router does not reach "+other, view.Unhealthy, "if only this site says so, it is the way between the two; else it is "+other)
			continue
		}
		for _, v := range d.router.Sites {
			if v.Site != d.site.Name {
				continue
			}
			measured, said := v.Distances[other], d.coordinates[other]
			if measured.Measured && said.Untrusted == "" && said.RTTMS > 0 && measured.RTTMS > 2*said.RTTMS+30 {
				d.wrong("the way to "+other+" is slow for people's requests", fmt.Sprintf("routers measure %.0f ms, Consul's servers %.0f ms", measured.RTTMS, said.RTTMS), "routers go by the internet and servers by the peering: look at the load balancer and the edge nodes of both")
			}
		}
	}
}
