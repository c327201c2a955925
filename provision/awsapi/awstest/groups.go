package awstest

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/nearcast/nearcast/provision/awsapi"
)

// group is an auto scaling group.
type group struct {
	wanted  int
	members []awsapi.Member
}

// Group makes a group, or changes it.
func (c *Cloud) Group(name string, wanted int, members ...awsapi.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.groups == nil {
		c.groups = map[string]group{}
	}
	c.groups[name] = group{wanted, members}
}

func (c *Cloud) describe(w http.ResponseWriter, form url.Values) {
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprint(w, "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups>")
	if g, ok := c.groups[form.Get("AutoScalingGroupNames.member.1")]; ok {
		fmt.Fprintf(w, "<member><DesiredCapacity>%d</DesiredCapacity><Instances>", g.wanted)
		for _, m := range g.members {
			health := map[bool]string{true: "Healthy", false: "Unhealthy"}[m.Healthy]
			fmt.Fprintf(w, "<member><InstanceId>%s</InstanceId><LifecycleState>%s</LifecycleState><HealthStatus>%s</HealthStatus></member>", m.Instance, m.State, health)
		}
		fmt.Fprint(w, "</Instances></member>")
	}
	fmt.Fprint(w, "</AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>")
}

func (c *Cloud) setHealth(instance, status string) {
	for _, g := range c.groups {
		for i := range g.members {
			if g.members[i].Instance == instance {
				g.members[i].Healthy = status != "Unhealthy"
			}
		}
	}
}
