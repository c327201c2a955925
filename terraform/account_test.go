package terraform_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

// An emulated account, asked by requests of our own.

// listings are requests that list what an account has in a region, what one thing looks like in the
// answer, and what a thing that is gone looks like.
var listings = []struct{ service, version, action, one, gone string }{
	{"ec2", "2016-11-15", "DescribeVpcs", `<cidrBlock>`, ``},
	{"ec2", "2016-11-15", "DescribeSubnets", `<subnetId>`, ``},
	{"ec2", "2016-11-15", "DescribeSecurityGroups", `<groupDescription>`, ``},
	{"ec2", "2016-11-15", "DescribeRouteTables", `<propagatingVgwSet`, ``},
	{"ec2", "2016-11-15", "DescribeInternetGateways", `<internetGatewayId>`, ``},
	{"ec2", "2016-11-15", "DescribeNatGateways", `<natGatewayId>`, `<state>deleted</state>`},
	{"ec2", "2016-11-15", "DescribeAddresses", `<publicIp>`, ``},
	{"ec2", "2016-11-15", "DescribeVpcEndpoints", `<vpcEndpointId>`, `<state>deleted</state>`},
	{"ec2", "2016-11-15", "DescribeVpcPeeringConnections", `<vpcPeeringConnectionId>`, `<code>deleted</code>`},
	{"ec2", "2016-11-15", "DescribeLaunchTemplates", `<launchTemplateId>`, ``},
	{"ec2", "2016-11-15", "DescribeInstances", `<imageId>`, `<name>terminated</name>`},
	{"elasticloadbalancing", "2015-12-01", "DescribeLoadBalancers", `<LoadBalancerArn>`, ``},
	{"elasticloadbalancing", "2015-12-01", "DescribeTargetGroups", `<TargetGroupArn>`, ``},
	{"autoscaling", "2011-01-01", "DescribeAutoScalingGroups", `<AutoScalingGroupARN>`, ``},
	{"iam", "2010-05-08", "ListRoles", `<RoleId>`, ``},
	{"iam", "2010-05-08", "ListInstanceProfiles", `<InstanceProfileId>`, ``},
	{"sns", "2010-03-31", "ListTopics", `<TopicArn>`, ``},
	{"sns", "2010-03-31", "ListSubscriptions", `<SubscriptionArn>`, ``},
	{"secretsmanager", "", "secretsmanager.ListSecrets", `"ARN"`, ``},
	{"acm", "", "CertificateManager.ListCertificates", `"CertificateArn"`, ``},
	{"s3", "", "GET /", `<CreationDate>`, ``},
	{"route53", "", "GET /2013-04-01/healthcheck", `<HealthCheckConfig>`, ``},
	{"route53", "", "GET /2013-04-01/hostedzone/ZONE/rrset", `<ResourceRecordSet>`, ``},
}

// holds counts what the account has in some regions.
func (f *front) holds(ctx context.Context, regions []string) (map[string]int, error) {
	found := map[string]int{}
	for _, region := range regions {
		for _, l := range listings {
			body, err := f.ask(ctx, region, l.service, l.version, strings.Replace(l.action, "ZONE", f.zone, 1), nil)
			if err != nil {
				return nil, err
			}
			n := len(regexp.MustCompile(l.one).FindAllString(body, -1))
			if l.gone != "" {
				n -= len(regexp.MustCompile(l.gone).FindAllString(body, -1))
			}
			found[region+" "+l.service+" "+l.action] = n
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for region, alarms := range f.alarms {
		found[region+" alarms"] = len(alarms)
	}
	for name := range f.kept {
		if strings.Contains(name, "/") {
			found["documents of buckets"]++
		}
	}
	return found, nil
}

// ask sends a request of our own, and returns the answer. action is a query's Action, a target of the
// JSON protocol, or a method and a path.
func (f *front) ask(ctx context.Context, region, service, version, action string, fields map[string]string) (string, error) {
	method, path, content, body := http.MethodPost, "/", "application/x-www-form-urlencoded", ""
	target := ""
	switch verb, rest, isREST := strings.Cut(action, " "); {
	case isREST:
		method, path, content, body = verb, rest, "application/xml", fields["body"]
	case version == "":
		text, err := json.Marshal(fields)
		if err != nil {
			return "", err
		}
		target, content, body = action, "application/x-amz-json-1.1", string(text)
		if fields == nil {
			body = "{}"
		}
	default:
		form := url.Values{"Action": {action}, "Version": {version}}
		for name, value := range fields {
			form.Set(name, value)
		}
		body = form.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, f.moto+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", content)
	if target != "" {
		req.Header.Set("X-Amz-Target", target)
	}
	// moto does not check signatures; it takes the service and the region from there.
	req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=test/20260101/%s/%s/aws4_request, SignedHeaders=x-amz-date, Signature=0", region, service))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the emulator: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s answers %s: %s", service, action, resp.Status, answer)
	}
	return string(answer), err
}

// prepare empties the account, and makes what an operator has before the first apply: a hosted zone,
// and images in each region.
func (f *front) prepare(ctx context.Context, zone string, regions []string) error {
	resp, err := http.Post(f.moto+"/moto-api/reset", "", nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	f.mu.Lock()
	f.alarms, f.kept, f.mixed = map[string]map[string]cbor.Map{}, map[string][]byte{}, map[string]url.Values{}
	f.mu.Unlock()
	made, err := f.ask(ctx, "us-east-1", "route53", "", "POST /2013-04-01/hostedzone", map[string]string{
		"body": `<CreateHostedZoneRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Name>` + zone + `</Name><CallerReference>test</CallerReference></CreateHostedZoneRequest>`,
	})
	if err != nil {
		return err
	}
	if f.zone = between(made, "<Id>/hostedzone/", "</Id>"); f.zone == "" {
		return fmt.Errorf("the emulator made no zone: %s", made)
	}
	for _, region := range regions {
		for name, arch := range map[string]string{imageParameter: "x86_64", imageParameterARM64: "arm64"} {
			images, err := f.ask(ctx, region, "ec2", "2016-11-15", "DescribeImages", map[string]string{
				"Filter.1.Name": "root-device-type", "Filter.1.Value.1": "ebs", "Filter.2.Name": "architecture", "Filter.2.Value.1": arch, "Owner.1": "amazon",
			})
			if err != nil {
				return err
			}
			if _, err := f.ask(ctx, region, "ssm", "", "AmazonSSM.PutParameter", map[string]string{"Name": name, "Type": "String", "Value": between(images, "<imageId>", "</imageId>")}); err != nil {
				return err
			}
		}
	}
	return nil
}

const imageParameter, imageParameterARM64 = "/images/ubuntu", "/images/ubuntu-arm64"
