package awsapi_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSecret(t *testing.T) {
	ctx, cloud := t.Context(), awstest.New(t)
	client := cloud.Client()
	for _, made := range []bool{false, true} {
		if made {
			cloud.NewSecret("a")
		}
		if _, err := client.Secret(ctx, "a"); !errors.Is(err, awsapi.ErrNoSecret) || !strings.Contains(err.Error(), "a: ") {
			t.Errorf("made %t, without a value: %v", made, err)
		}
	}
	for _, value := range []string{"first", "second"} {
		if err := client.PutFirstSecret(ctx, "a", value); err != nil {
			t.Errorf("first value %q: %v", value, err)
		}
	}
	if value, err := client.Secret(ctx, "a"); err != nil || value != "first" {
		t.Errorf("after two first values: %q, %v", value, err)
	}
	// Two requests are throttled; the SDK makes a third.
	cloud.Throttle(2)
	if err := client.PutSecret(ctx, "a", "third", "6e656172-6361-4374-8000-000000000003"); err != nil {
		t.Error(err)
	}
	if value, err := client.Secret(ctx, "a"); err != nil || value != "third" {
		t.Errorf("after a new value: %q, %v", value, err)
	}
	if err := client.PutSecret(ctx, "a", "fourth", "short"); err == nil || !strings.Contains(err.Error(), "write secret a: ") {
		t.Errorf("a token that AWS refuses: %v", err)
	}
}

// TestSecretAfter: of two that read the same value and write another one, the second is refused.
func TestSecretAfter(t *testing.T) {
	ctx, cloud := t.Context(), awstest.New(t)
	client := cloud.Client()
	cloud.NewSecret("a")
	if err := client.PutFirstSecret(ctx, "a", "first"); err != nil {
		t.Fatal(err)
	}
	_, version, err := client.SecretVersion(ctx, "a")
	if err != nil || version == "" {
		t.Fatalf("version %q, %v", version, err)
	}
	for range 2 { // a call that is repeated, because its answer was lost
		next, err := client.PutSecretAfter(ctx, "a", "mine", version)
		if _, has, _ := client.SecretVersion(ctx, "a"); err != nil || next != has {
			t.Errorf("the next version is %q, AWS has %q: %v", next, has, err)
		}
	}
	if _, err := client.PutSecretAfter(ctx, "a", "theirs", version); !errors.Is(err, awsapi.ErrSecretChanged) {
		t.Errorf("a value that follows the same version: %v", err)
	}
	if value, _ := client.Secret(ctx, "a"); value != "mine" {
		t.Errorf("the secret is %q", value)
	}
}

func TestSignature(t *testing.T) {
	cloud := awstest.New(t)
	cloud.NewSecret("a")
	good := cloud.Config()
	other := cloud.Config()
	other.Credentials = credentials.NewStaticCredentialsProvider("AKIDTEST", "another", "session")
	for what, client := range map[string]*awsapi.Client{
		"another key":    awsapi.New(other, awstest.Region),
		"another region": awsapi.New(good, "test-2"),
	} {
		if _, err := client.Secret(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
			t.Errorf("secret with %s: %v", what, err)
		}
		if err := client.Heartbeat(t.Context(), awsapi.Lifecycle{Group: "g", Hook: "h", Instance: "i"}); err == nil || !strings.Contains(err.Error(), "SignatureDoesNotMatch") {
			t.Errorf("heartbeat with %s: %v", what, err)
		}
	}
}

// AWS_ENDPOINT_URL leads all services to something that stands for AWS.
func TestEndpointURL(t *testing.T) {
	cloud := awstest.New(t)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": cloud.URL, "AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session",
		"AWS_CA_BUNDLE": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(awstest.Region), config.WithHTTPClient(cloud.Config().HTTPClient))
	if err != nil {
		t.Fatal(err)
	}
	if err := awsapi.New(cfg, awstest.Region).Complete(t.Context(), awsapi.Lifecycle{Group: "g", Hook: "h", Instance: "i"}); err != nil {
		t.Fatal(err)
	}
	actions, _ := cloud.Actions()
	if len(actions) != 1 || actions[0].Get("Action") != "CompleteLifecycleAction" || actions[0].Get("LifecycleActionResult") != "CONTINUE" {
		t.Errorf("the cloud got %v", actions)
	}
}

func TestIMDS(t *testing.T) {
	ctx, cloud := t.Context(), awstest.New(t)
	cloud.Say("public-ipv4", "203.0.113.9\n")
	meta := cloud.IMDS()
	for range 2 {
		if value, err := meta.Get(ctx, "public-ipv4"); err != nil || value != "203.0.113.9" {
			t.Errorf("%q, %v", value, err)
		}
		cloud.ForgetTokens() // and a new one is fetched
	}
	if _, err := meta.Get(ctx, "spot/instance-action"); !errors.Is(err, awsapi.ErrNoMetadata) {
		t.Errorf("an entry that is not there: %v", err)
	}
	cloud.ForgetTokens()
	cloud.Legacy()
	if value, err := cloud.IMDS().Get(ctx, "public-ipv4"); err == nil || errors.Is(err, awsapi.ErrNoMetadata) {
		t.Errorf("version 1 gave %q, %v", value, err)
	}
}
