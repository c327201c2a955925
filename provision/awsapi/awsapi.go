// Package awsapi is the part of AWS that a node needs to set itself up and to end:
// secrets of Secrets Manager, its auto scaling group with the lifecycle hooks, and the
// instance metadata service, version 2 only.
//
//	cfg, err := config.LoadDefaultConfig(ctx)
//	client := awsapi.New(cfg, "eu-central-1")
//	text, err := client.Secret(ctx, "nearcast/nodes")   // ErrNoSecret: not yet
//
// The AWS SDK does the work: credentials of the node's role, retries, partitions, and
// AWS_ENDPOINT_URL for something that stands for AWS.
package awsapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"
)

// Client speaks to the services of one region.
type Client struct {
	secrets *secretsmanager.Client
	groups  *autoscaling.Client
}

// attemptTimeout ends an attempt that AWS does not answer; the SDK makes another one.
const attemptTimeout = 20 * time.Second

// New returns a client for a region. It sends no request.
func New(cfg aws.Config, region string) *Client {
	cfg = cfg.Copy()
	cfg.Region = region
	if client, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		cfg.HTTPClient = client.WithTimeout(attemptTimeout)
	}
	return &Client{secrets: secretsmanager.NewFromConfig(cfg), groups: autoscaling.NewFromConfig(cfg)}
}

// ErrNoSecret means that a secret has no value yet, or does not exist: AWS answers
// both in the same way.
var ErrNoSecret = errors.New("the secret has no value yet")

// Secret returns the current value of a secret, or ErrNoSecret.
func (c *Client) Secret(ctx context.Context, name string) (string, error) {
	value, _, err := c.SecretVersion(ctx, name)
	return value, err
}

// SecretVersion is Secret, and names the version of the value.
func (c *Client) SecretVersion(ctx context.Context, name string) (value, version string, err error) {
	out, err := c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
		return "", "", fmt.Errorf("%s: %w", name, ErrNoSecret)
	}
	if err != nil {
		return "", "", fmt.Errorf("read secret %s: %w", name, err)
	}
	return aws.ToString(out.SecretString), aws.ToString(out.VersionId), nil
}

// ErrSecretChanged means that somebody else wrote the secret since it was read.
var ErrSecretChanged = errors.New("the secret was changed by somebody else")

// PutSecretAfter gives a secret its next value after a version, and names the version of that. Only one value
// follows a version: its id comes from that of the version, and AWS refuses another value with the same id.
func (c *Client) PutSecretAfter(ctx context.Context, name, value, version string) (next string, err error) {
	next = uuid.NewSHA1(uuid.MustParse(firstVersion), []byte(version)).String()
	err = c.PutSecret(ctx, name, value, next)
	if exists := (*types.ResourceExistsException)(nil); errors.As(err, &exists) {
		return "", fmt.Errorf("write secret %s: %w", name, ErrSecretChanged)
	}
	return next, err
}

// firstVersion is the id of a secret's first value. AWS refuses a second value with
// the same id. So when several servers start together, one of them makes the secrets.
const firstVersion = "6e656172-6361-4374-8000-000000000001"

// PutFirstSecret gives a secret its first value. It does nothing when the secret has
// one already.
func (c *Client) PutFirstSecret(ctx context.Context, name, value string) error {
	err := c.PutSecret(ctx, name, value, firstVersion)
	if exists := (*types.ResourceExistsException)(nil); errors.As(err, &exists) {
		return nil
	}
	return err
}

// PutSecret gives a secret a new value. token is the id of the value: a repeated call
// with the same token and value changes nothing.
func (c *Client) PutSecret(ctx context.Context, name, value, token string) error {
	_, err := c.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &name, SecretString: &value, ClientRequestToken: &token,
	})
	if err != nil {
		return fmt.Errorf("write secret %s: %w", name, err)
	}
	return nil
}

// Lifecycle names a node's place in an auto scaling group, and the hook that waits for
// it.
type Lifecycle struct{ Group, Hook, Instance string }

// ErrNoAction means that the group does not wait for this node: another call said it, the
// hook's time is over, or there was none.
var ErrNoAction = errors.New("the group does not wait for this node")

// Complete lets the group go on, with a launch or a termination. ErrNoAction: it does not
// wait.
func (c *Client) Complete(ctx context.Context, l Lifecycle) error {
	return c.result(ctx, l, "CONTINUE")
}

// Abandon lets the group end a node that it launched, and launch another one. ErrNoAction:
// it does not wait.
func (c *Client) Abandon(ctx context.Context, l Lifecycle) error { return c.result(ctx, l, "ABANDON") }

func (c *Client) result(ctx context.Context, l Lifecycle, result string) error {
	_, err := c.groups.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: &l.Group, LifecycleHookName: &l.Hook, InstanceId: &l.Instance, LifecycleActionResult: &result,
	})
	if err != nil {
		return fmt.Errorf("complete the lifecycle hook %s: %w", l.Hook, noAction(err))
	}
	return nil
}

// noAction finds ErrNoAction in AWS's words: it has no code of its own.
func noAction(err error) error {
	if answer := smithy.APIError(nil); errors.As(err, &answer) && answer.ErrorCode() == "ValidationError" &&
		strings.Contains(answer.ErrorMessage(), "No active Lifecycle Action found") {
		return fmt.Errorf("%w: %w", ErrNoAction, err)
	}
	return err
}

// Heartbeat makes the group wait for the hook's full time again. ErrNoAction: it does not
// wait.
func (c *Client) Heartbeat(ctx context.Context, l Lifecycle) error {
	_, err := c.groups.RecordLifecycleActionHeartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: &l.Group, LifecycleHookName: &l.Hook, InstanceId: &l.Instance,
	})
	if err != nil {
		return fmt.Errorf("send a heartbeat to the lifecycle hook %s: %w", l.Hook, noAction(err))
	}
	return nil
}

// Member is a node of a group.
type Member struct {
	Instance, State string // such as InService, Pending:Wait
	Healthy         bool
}

// Members returns the nodes of a group, and how many it is to have.
func (c *Client) Members(ctx context.Context, group string) (wanted int, members []Member, err error) {
	out, err := c.groups.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{group}})
	if err != nil {
		return 0, nil, fmt.Errorf("describe the group %s: %w", group, err)
	}
	if len(out.AutoScalingGroups) == 0 {
		return 0, nil, fmt.Errorf("the group %s does not exist", group)
	}
	found := out.AutoScalingGroups[0]
	for _, i := range found.Instances {
		members = append(members, Member{
			Instance: aws.ToString(i.InstanceId), State: string(i.LifecycleState), Healthy: !strings.EqualFold(aws.ToString(i.HealthStatus), "Unhealthy"),
		})
	}
	return int(aws.ToInt32(found.DesiredCapacity)), members, nil
}

// Unhealthy has the group replace a node. A node that is younger than the group's grace period stays.
func (c *Client) Unhealthy(ctx context.Context, l Lifecycle) error {
	_, err := c.groups.SetInstanceHealth(ctx, &autoscaling.SetInstanceHealthInput{InstanceId: &l.Instance, HealthStatus: aws.String("Unhealthy")})
	if err != nil {
		return fmt.Errorf("say that %s is unhealthy: %w", l.Instance, err)
	}
	return nil
}
