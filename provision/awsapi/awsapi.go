// Package awsapi makes the few calls to AWS that setting up and ending a node
// takes, signed with the credentials of the node's role: Secrets Manager, the
// lifecycle hooks of Auto Scaling, and the instance metadata service (version 2
// only).
//
// The SDK's packages for the first two would cost more to build than all the rest
// of the command; five requests do not.
package awsapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Client speaks for one region.
type Client struct {
	Region      string
	Credentials aws.CredentialsProvider
	// Endpoint stands for https://<service>.<region>.amazonaws.com, for tests.
	Endpoint string
	HTTP     *http.Client // default: one with a time limit
}

// Error is AWS's refusal.
type Error struct {
	Status  int
	Code    string // ResourceNotFoundException
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s (%d)", e.Code, e.Message, e.Status) }

// ErrNoSecret means that the secret has no value yet.
var ErrNoSecret = errors.New("the secret has no value yet")

var defaultHTTP = &http.Client{Timeout: 20 * time.Second}

func (c *Client) call(ctx context.Context, service string, header http.Header, body []byte) ([]byte, error) {
	endpoint := c.Endpoint
	if endpoint == "" {
		endpoint = "https://" + service + "." + c.Region + ".amazonaws.com"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	credentials, err := c.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("get credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), service, c.Region, time.Now()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	client := c.HTTP
	if client == nil {
		client = defaultHTTP
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		return nil, refusal(res.StatusCode, answer)
	}
	return answer, nil
}

// refusal reads the JSON services' form of an error; of the others, the text
// itself says enough.
func refusal(status int, body []byte) error {
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
		Upper   string `json:"Message"`
	}
	if json.Unmarshal(body, &e) != nil {
		return &Error{Status: status, Code: http.StatusText(status), Message: strings.Join(strings.Fields(string(body)), " ")}
	}
	_, code, found := strings.Cut(e.Type, "#")
	if !found {
		code = e.Type
	}
	return &Error{Status: status, Code: code, Message: e.Message + e.Upper}
}

func (c *Client) secretsManager(ctx context.Context, action string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := c.call(ctx, "secretsmanager", http.Header{
		"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"secretsmanager." + action},
	}, body)
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return json.Unmarshal(answer, out)
}

// Secret is the present value of a secret, or ErrNoSecret.
func (c *Client) Secret(ctx context.Context, name string) (string, error) {
	var out struct{ SecretString string }
	err := c.secretsManager(ctx, "GetSecretValue", map[string]string{"SecretId": name}, &out)
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Code == "ResourceNotFoundException" {
		return "", fmt.Errorf("%s: %w", name, ErrNoSecret)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return out.SecretString, nil
}

// firstVersion is the id of the first value. A second value of that id is
// refused, so that of servers that begin together, one makes the cluster's secrets.
const firstVersion = "6e656172-6361-4374-8000-000000000001"

// PutFirstSecret gives a secret its first value, and does nothing where it has one.
func (c *Client) PutFirstSecret(ctx context.Context, name, value string) error {
	err := c.putSecret(ctx, name, value, firstVersion)
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Code == "ResourceExistsException" {
		return nil
	}
	return err
}

// PutSecret gives a secret a new value. token tells a repeated call from a new one.
func (c *Client) PutSecret(ctx context.Context, name, value, token string) error {
	return c.putSecret(ctx, name, value, token)
}

func (c *Client) putSecret(ctx context.Context, name, value, token string) error {
	return c.secretsManager(ctx, "PutSecretValue",
		map[string]string{"SecretId": name, "SecretString": value, "ClientRequestToken": token}, &struct{}{})
}

// Lifecycle is a node's place in an auto scaling group, and the hook that waits
// for it.
type Lifecycle struct{ Group, Hook, Instance string }

// Complete lets the group go on with the termination.
func (c *Client) Complete(ctx context.Context, l Lifecycle) error {
	return c.autoscaling(ctx, "CompleteLifecycleAction", l, url.Values{"LifecycleActionResult": {"CONTINUE"}})
}

// Heartbeat asks the group to wait for as long again as the hook says.
func (c *Client) Heartbeat(ctx context.Context, l Lifecycle) error {
	return c.autoscaling(ctx, "RecordLifecycleActionHeartbeat", l, url.Values{})
}

func (c *Client) autoscaling(ctx context.Context, action string, l Lifecycle, form url.Values) error {
	form.Set("Action", action)
	form.Set("Version", "2011-01-01")
	form.Set("AutoScalingGroupName", l.Group)
	form.Set("LifecycleHookName", l.Hook)
	form.Set("InstanceId", l.Instance)
	_, err := c.call(ctx, "autoscaling", http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, []byte(form.Encode()))
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}
