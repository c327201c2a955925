package cloud

import (
	"context"
	"fmt"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Promotion is what stands between a site and being the primary one. Nothing of it is done: the
// primary is in the configuration of all nodes (NEARCAST_PRIMARY_SITE), from which Consul has its
// primary datacenter and Nomad its authoritative region, so it changes by replacing nodes.
type Promotion struct {
	Site, From string
	// Blocked are what must be mended first; without them the steps may be taken.
	Blocked []Finding
	Steps   []string
}

// Promotion checks whether a site can become the primary one, and says how. It changes nothing.
func (c *Cluster) Promotion(ctx context.Context, site Site) (p Promotion, err error) {
	old := c.Outputs.Primary()
	if site.Name == old.Name {
		return p, fmt.Errorf("%s is the primary site already", site.Name)
	}
	p.Site, p.From = site.Name, old.Name
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	blocked := func(problem, evidence, do string) {
		p.Blocked = append(p.Blocked, Finding{Site: site.Name, Problem: problem, Evidence: evidence, Do: do})
	}
	at := c.Reach(site.Name)
	if err := c.whole(ctx, site); err != nil {
		blocked("its servers are not whole", err.Error(), "nearcast cloud doctor --site "+site.Name)
	}
	if missing, err := missingKeys(ctx, at.Nomad); err != nil || missing != "" {
		blocked("the keys of tickets are not there", fmt.Sprint(missing, err), "on a server: systemctl status nearcast-acl")
	}
	if _, err := at.Consul.Instances(ctx, wire.RouterService); err != nil {
		blocked("Consul does not take the operator's token there", err.Error(), "the site has not copied the primary site's tokens: look at the replication (consul acl replication)")
	}
	dead := false
	if err := c.whole(ctx, old); err != nil {
		dead = true
	}
	if c.Cloud != nil && site.ContentBucket != "" && old.ContentBucket != "" {
		if missing, total, err := c.behind(ctx, old, site); err != nil {
			blocked("it is not known whether all content is there", err.Error(), "give credentials of the account, or --no-aws to leave it out")
		} else if missing > 0 {
			blocked("content is missing there", fmt.Sprintf("%d of %d objects", missing, total), fmt.Sprintf("aws s3 sync s3://%s s3://%s --source-region %s --region %s", old.ContentBucket, site.ContentBucket, old.Name, site.Name))
		}
	}
	p.Steps = c.promotionSteps(site, old, dead)
	return p, nil
}

func (c *Cluster) promotionSteps(site, old Site, dead bool) []string {
	why := "It still has a quorum: promote only if it is to be given up for good."
	if dead {
		why = "It has no quorum now. If it can be restored (docs/RECOVER.md), do that: it keeps all sites as they are."
	}
	return []string{
		fmt.Sprintf("The primary site is %s. %s", old.Name, why),
		"Until step 4 is done, change no policy, token, launch key or node pool: nobody copies it.",
		fmt.Sprintf("1. Keep what only the primary site owns: on a server of %s, consul snapshot save, nomad operator snapshot save; from Secrets Manager in %s, the secret %s.", site.Name, site.Name, site.Secrets["servers"]),
		fmt.Sprintf("2. In terraform.tfvars set primary_region = %q. terraform plan must not replace a bucket or a secret: read it.", site.Name),
		fmt.Sprintf("3. terraform apply, then the servers first, at this site before all others: nearcast cloud roll --site %s --role server", site.Name),
		fmt.Sprintf("4. On a server of %s: systemctl status nearcast-acl; consul acl policy list and nomad acl policy list have to be answered as the authority's.", site.Name),
		"5. The servers of the other sites, one site after the other, then edge and stream nodes: nearcast cloud roll",
		fmt.Sprintf("6. The copies of content now begin at s3://%s: publish there, and nearcast cloud doctor.", site.ContentBucket),
		"Tested: what this command looks at, with stand-ins for Consul, Nomad and the account. Not tested: steps 1 to 6, neither with real Consul and Nomad nor with Terraform. Try them on a cluster that nobody needs.",
	}
}

// behind counts the objects of a site's bucket that another one's has not.
func (c *Cluster) behind(ctx context.Context, from, to Site) (missing, total int, err error) {
	objects := [2]map[string]int64{}
	for i, site := range []Site{from, to} {
		cloud, err := c.Cloud(site.Name)
		if err != nil {
			return 0, 0, err
		}
		if objects[i], err = cloud.Objects(ctx, site.ContentBucket, time.Time{}, mostObjects); err != nil {
			return 0, 0, err
		}
	}
	for key, size := range objects[0] {
		if have, ok := objects[1][key]; !ok || have != size {
			missing++
		}
	}
	return missing, len(objects[0]), nil
}
