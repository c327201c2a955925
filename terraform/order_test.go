package terraform_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// A plan does not show in which order its resources are made, so this reads the source: a node
// that starts before its subnet has a way out fails at its first download.
func TestNodesWaitForTheirWayOut(t *testing.T) {
	outputs := text(t, "modules/network/outputs.tf")
	for name, route := range map[string]string{"private": "aws_route.nat", "public": "aws_route.internet"} {
		output := regexp.MustCompile(`(?s)output "` + name + `_subnet_ids" \{.*?\n\}`).FindString(outputs)
		waits := regexp.MustCompile(`depends_on\s*=\s*\[([^\]]*)\]`).FindStringSubmatch(output)
		if waits == nil {
			t.Errorf("the %s subnets are there before their routes", name)
			continue
		}
		for _, want := range []string{route, "aws_route_table_association." + name, "aws_vpc_endpoint.s3"} {
			if !strings.Contains(waits[1], want) {
				t.Errorf("the %s subnets do not wait for %s", name, want)
			}
		}
	}
	// Every group gets its subnets from these outputs.
	region := text(t, "modules/region/main.tf")
	groups := len(regexp.MustCompile(`source\s*=\s*"\.\./nodes"`).FindAllString(region, -1))
	subnets := regexp.MustCompile(`(?m)^\s*subnet_ids\s*=.*$`).FindAllString(region, -1)
	waiting := 0
	for _, line := range subnets {
		if strings.Contains(line, "module.network.") {
			waiting++
		}
	}
	if groups == 0 || waiting < groups {
		t.Errorf("%d of %d groups of nodes have subnets of module.network:\n%s", waiting, groups, strings.Join(subnets, "\n"))
	}
}

func text(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// AWS may open another zone, which would be among the first three: a plan would then replace subnets,
// and with them all nodes.
func TestZonesArePinned(t *testing.T) {
	subnets := regexp.MustCompile(`(?s)resource "aws_subnet" "\w+" \{.*?\n\}`).FindAllString(text(t, "modules/network/main.tf"), -1)
	for _, subnet := range subnets {
		if !regexp.MustCompile(`ignore_changes\s*=\s*\[availability_zone\]`).MatchString(subnet) {
			t.Errorf("a new zone would replace\n%s", subnet)
		}
	}
	if len(subnets) != 2 {
		t.Errorf("%d kinds of subnets", len(subnets))
	}
}
