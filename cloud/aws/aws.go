// Package aws is the adapter of package cloud to an AWS account: auto scaling groups, the
// reasons that nodes left, and the contents of buckets.
//
//	account, err := aws.Open(ctx, "eu-central-1")
//	group, err := account.Group(ctx, "nearcast-edge")
//
// Credentials, the endpoint and retries are those of the SDK's environment.
package aws

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/cloud"
)

// Account is one region of an account.
type Account struct {
	groups *autoscaling.Client
	store  *s3.Client
}

var _ cloud.Cloud = (*Account)(nil)

// Open reads the configuration of the environment. It sends no request.
func Open(ctx context.Context, region string) (*Account, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	if err != nil {
		return nil, fmt.Errorf("load the configuration of the AWS SDK: %w", err)
	}
	return New(cfg), nil
}

// New returns the account of a configuration.
func New(cfg aws.Config) *Account {
	return &Account{
		groups: autoscaling.NewFromConfig(cfg),
		store:  s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }),
	}
}

// Group implements cloud.Cloud.
func (a *Account) Group(ctx context.Context, name string) (g cloud.Group, err error) {
	out, err := a.groups.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil {
		return g, fmt.Errorf("describe the group %s: %w", name, err)
	}
	if len(out.AutoScalingGroups) == 0 {
		return g, fmt.Errorf("the group %s does not exist", name)
	}
	group := out.AutoScalingGroups[0]
	g.Wanted = int(aws.ToInt32(group.DesiredCapacity))
	for _, i := range group.Instances {
		switch state := string(i.LifecycleState); {
		case state == "InService" && aws.ToString(i.HealthStatus) != "Unhealthy":
			g.InService++
		case strings.HasPrefix(state, "Pending"):
			g.Starting++
		}
	}
	if g.InService >= g.Wanted {
		return g, nil
	}
	last, err := a.groups.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &name, MaxRecords: aws.Int32(10)})
	if err != nil {
		return g, fmt.Errorf("describe the activities of %s: %w", name, err)
	}
	for _, activity := range last.Activities {
		// A failure from before is none where nodes start now.
		if time.Since(aws.ToTime(activity.StartTime)) < time.Hour && activity.StatusCode == types.ScalingActivityStatusCodeFailed && len(g.Troubles) < 2 {
			g.Troubles = append(g.Troubles, cmp.Or(aws.ToString(activity.StatusMessage), aws.ToString(activity.Cause)))
		}
	}
	return g, nil
}

// Reasons implements cloud.Cloud.
func (a *Account) Reasons(ctx context.Context, bucket, group string, since time.Time) (reasons []cloud.Reason, err error) {
	prefix := "nodes/" + group + "/"
	pages := s3.NewListObjectsV2Paginator(a.store, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
		}
		for _, o := range page.Contents {
			if at := aws.ToTime(o.LastModified); at.After(since) {
				reasons = append(reasons, cloud.Reason{Instance: aws.ToString(o.Key), At: at})
			}
		}
	}
	slices.SortFunc(reasons, func(a, b cloud.Reason) int { return b.At.Compare(a.At) })
	const most = 3 // texts: a group that tries all day leaves hundreds, mostly with the same words
	reasons = reasons[:min(most, len(reasons))]
	for i, r := range reasons {
		out, err := a.store.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String(r.Instance)})
		if err != nil {
			return nil, fmt.Errorf("read s3://%s/%s: %w", bucket, r.Instance, err)
		}
		text, err := io.ReadAll(io.LimitReader(out.Body, 4<<10))
		out.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("read s3://%s/%s: %w", bucket, r.Instance, err)
		}
		reasons[i].Instance = strings.TrimSuffix(strings.TrimPrefix(r.Instance, prefix), ".txt")
		reasons[i].Text = strings.Join(strings.Fields(string(text)), " ")
	}
	return reasons, nil
}

// Objects implements cloud.Cloud.
func (a *Account) Objects(ctx context.Context, bucket string, before time.Time, most int) (map[string]int64, error) {
	objects := map[string]int64{}
	pages := s3.NewListObjectsV2Paginator(a.store, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() && len(objects) < most {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list s3://%s: %w", bucket, err)
		}
		for _, o := range page.Contents {
			if before.IsZero() || aws.ToTime(o.LastModified).Before(before) {
				objects[aws.ToString(o.Key)] = aws.ToInt64(o.Size)
			}
		}
	}
	return objects, nil
}

// Refresh implements cloud.Cloud. It replaces nodes that differ from the group's latest
// template, starts a new one before it ends an old one, and waits after the first ones.
func (a *Account) Refresh(ctx context.Context, group string, how cloud.Preferences) (string, error) {
	in := &autoscaling.StartInstanceRefreshInput{AutoScalingGroupName: &group, Preferences: &types.RefreshPreferences{
		MinHealthyPercentage: aws.Int32(100), MaxHealthyPercentage: aws.Int32(134), SkipMatching: aws.Bool(true),
		CheckpointPercentages: []int32{int32(how.First), 100}, CheckpointDelay: aws.Int32(int32(how.Pause.Seconds())),
		// Stream nodes are protected from scale in, and drain before they end. By default AWS waits an hour, and
		// the replacement fails.
		ScaleInProtectedInstances: types.ScaleInProtectedInstancesRefresh,
	}}
	if len(how.Alarms) > 0 {
		in.Preferences.AlarmSpecification = &types.AlarmSpecification{Alarms: how.Alarms}
	}
	out, err := a.groups.StartInstanceRefresh(ctx, in)
	if err != nil {
		return "", fmt.Errorf("begin to replace the nodes of %s: %w", group, err)
	}
	return aws.ToString(out.InstanceRefreshId), nil
}

// Last implements cloud.Cloud.
func (a *Account) Last(ctx context.Context, group string) (r cloud.Refresh, err error) {
	out, err := a.groups.DescribeInstanceRefreshes(ctx, &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: &group, MaxRecords: aws.Int32(1)})
	if err != nil {
		return r, fmt.Errorf("ask how far the replacement of %s is: %w", group, err)
	}
	if len(out.InstanceRefreshes) == 0 {
		return r, nil
	}
	last := out.InstanceRefreshes[0]
	return cloud.Refresh{ID: aws.ToString(last.InstanceRefreshId), Status: string(last.Status), Reason: aws.ToString(last.StatusReason), Percent: int(aws.ToInt32(last.PercentageComplete))}, nil
}

// Cancel implements cloud.Cloud.
func (a *Account) Cancel(ctx context.Context, group string) error {
	if _, err := a.groups.CancelInstanceRefresh(ctx, &autoscaling.CancelInstanceRefreshInput{AutoScalingGroupName: &group}); err != nil {
		return fmt.Errorf("cancel the replacement of %s: %w", group, err)
	}
	return nil
}

// Template implements cloud.Cloud.
func (a *Account) Template(ctx context.Context, group string) (t cloud.Template, err error) {
	policy, nodes, err := a.policy(ctx, group)
	if err != nil {
		return t, err
	}
	spec := policy.LaunchTemplate.LaunchTemplateSpecification
	t = cloud.Template{ID: aws.ToString(spec.LaunchTemplateId), Version: version(spec), Nodes: map[int]int{}, Of: map[string]int{}}
	for _, node := range nodes {
		of := 0
		if node.LaunchTemplate != nil && aws.ToString(node.LaunchTemplate.LaunchTemplateId) == t.ID {
			of = version(node.LaunchTemplate)
		}
		t.Of[aws.ToString(node.InstanceId)] = of
		if !strings.HasPrefix(string(node.LifecycleState), "Terminat") {
			t.Nodes[of]++
		}
	}
	return t, nil
}

// version is 0 for words such as $Latest.
func version(spec *types.LaunchTemplateSpecification) int {
	n, _ := strconv.Atoi(aws.ToString(spec.Version))
	return n
}

// policy is how a group makes its nodes, with the nodes that it has.
func (a *Account) policy(ctx context.Context, group string) (*types.MixedInstancesPolicy, []types.Instance, error) {
	out, err := a.groups.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{group}})
	if err != nil {
		return nil, nil, fmt.Errorf("describe the group %s: %w", group, err)
	}
	if len(out.AutoScalingGroups) == 0 {
		return nil, nil, fmt.Errorf("the group %s does not exist", group)
	}
	found := out.AutoScalingGroups[0]
	policy := found.MixedInstancesPolicy
	if policy == nil || policy.LaunchTemplate == nil || policy.LaunchTemplate.LaunchTemplateSpecification == nil {
		return nil, nil, fmt.Errorf("the group %s has no policy with a launch template, as Terraform makes it", group)
	}
	return policy, found.Instances, nil
}

// UseTemplate implements cloud.Cloud. All else of the group's policy stays.
func (a *Account) UseTemplate(ctx context.Context, group string, version int) error {
	policy, _, err := a.policy(ctx, group)
	if err != nil {
		return err
	}
	spec := policy.LaunchTemplate.LaunchTemplateSpecification
	spec.LaunchTemplateName = nil // AWS takes id or name, and not both
	spec.Version = aws.String(strconv.Itoa(version))
	if _, err := a.groups.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: &group, MixedInstancesPolicy: policy}); err != nil {
		return fmt.Errorf("give %s the version %d of its template: %w", group, version, err)
	}
	return nil
}

// Backups implements cloud.Cloud. backup.sh puts the time into a snapshot's name, so that only those of the
// last days are listed.
func (a *Account) Backups(ctx context.Context, bucket string) (map[string]time.Time, error) {
	latest := map[string]time.Time{}
	for _, program := range []string{"consul", "nomad"} {
		prefix := "backups/" + program + "-"
		pages := s3.NewListObjectsV2Paginator(a.store, &s3.ListObjectsV2Input{
			Bucket: &bucket, Prefix: &prefix, StartAfter: aws.String(prefix + time.Now().Add(-30*24*time.Hour).UTC().Format("20060102")),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
			}
			for _, o := range page.Contents {
				at, err := time.Parse("20060102T150405Z", strings.TrimSuffix(strings.TrimPrefix(aws.ToString(o.Key), prefix), ".snap"))
				if err == nil && at.After(latest[program]) {
					latest[program] = at
				}
			}
		}
	}
	return latest, nil
}
