package cloud

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-version"
)

// clients: Nomad's clients must not be newer than servers, and older ones are of a release that was to
// be replaced.
func (d *diagnosis) clients() {
	var servers *version.Version
	for _, s := range d.nomad {
		v, err := version.NewVersion(s.Version)
		if err != nil || servers != nil && !v.Equal(servers) {
			return // servers that differ are said above
		}
		servers = v
	}
	if servers == nil {
		return
	}
	newer, older := map[string][]string{}, map[string][]string{}
	for _, n := range d.nodes {
		v, err := version.NewVersion(n.Version)
		if err != nil || n.Status != "ready" || n.Draining {
			continue
		}
		switch c := v.Compare(servers); {
		case c > 0:
			newer[n.Version] = append(newer[n.Version], n.Name)
		case c < 0:
			older[n.Version] = append(older[n.Version], n.Name)
		}
	}
	for _, v := range slices.Sorted(maps.Keys(newer)) {
		d.wrong("nodes have a newer Nomad than the servers", fmt.Sprintf("%s have %s, the servers %s", list(newer[v]), v, servers), "Nomad does not support it: replace the servers first: nearcast cloud roll --site "+d.site.Name+" --role server")
	}
	for _, v := range slices.Sorted(maps.Keys(older)) {
		d.wrong("nodes have an older Nomad than the servers", fmt.Sprintf("%s have %s, the servers %s", list(older[v]), v, servers), "finish the replacement: nearcast cloud roll --site "+d.site.Name)
	}
}

// agentCertificates: those by which agents know each other, as nodes show them.
func (d *diagnosis) agentCertificates(now time.Time) {
	var ending, named []string
	for _, node := range slices.Sorted(maps.Keys(d.shown)) {
		meta := d.shown[node]
		if until, err := time.Parse(time.RFC3339, meta[shownUntil]); err == nil && until.Sub(now) < expiresSoon {
			ending = append(ending, node+" ("+until.UTC().Format(time.DateOnly)+")")
		}
		kind := "client"
		if strings.HasPrefix(node, "server-") {
			kind = "server"
		}
		if want := kind + "." + d.site.Name + ".consul"; meta[shownCertificate] != "" && meta[shownCertificate] != want {
			named = append(named, fmt.Sprintf("%s (%s, not %s)", node, meta[shownCertificate], want))
		}
	}
	if len(ending) > 0 {
		d.wrong("certificates between nodes end soon", list(ending), "nodes renew them daily, in the last third of their time: on a node, journalctl -u nearcast-renew. Without AWS: nearcast provision secrets DIR, and copy the folders (docs/RECOVER.md)")
	}
	if len(named) > 0 {
		d.wrong("nodes have the certificates of others", list(named), "copy the folder of the node's own site and role to /etc/nearcast/secrets, and run systemctl start nearcast-renew")
	}
}

// oldBackups: snapshots of servers are made each hour.
func (d *diagnosis) oldBackups(now time.Time) {
	for _, at := range slices.Sorted(maps.Keys(d.backups)) {
		switch last := d.backups[at]; {
		case last.IsZero():
			d.wrong("there is no backup at "+at, "none was found of the last 30 days", backupHelp)
		case now.Sub(last) > backupAge:
			d.wrong("the backups at "+at+" are old", "the latest is of "+last.UTC().Format("2006-01-02 15:04 MST"), backupHelp)
		}
	}
}

const backupHelp = "on each server: journalctl -u nearcast-backup. A site that is new has its first after an hour"
