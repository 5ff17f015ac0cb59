package dialog

import (
	"crypto/hmac"
	"crypto/md5" // CRAM-MD5 and APOP are defined with it
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/xdg-go/scram"
)

// cram answers the CRAM-MD5 challenge in the line read last (RFC 2195).
func (c *client) cram(user, password string) error {
	challenge, err := base64.StdEncoding.DecodeString(lastWord(c.last))
	if err != nil {
		return fmt.Errorf("the last line has no CRAM-MD5 challenge: %w", err)
	}
	mac := hmac.New(md5.New, []byte(password))
	mac.Write(challenge)
	c.view.note("%s> (cram-md5 %s %s)", c.name, user, password)
	c.write(base64.StdEncoding.EncodeToString([]byte(user+" "+hex.EncodeToString(mac.Sum(nil)))) + "\r\n")
	return nil
}

var timestamp = regexp.MustCompile(`<[^<>]+>`)

// apop logs in with the timestamp in the line read last (RFC 1939 section 7).
func (c *client) apop(user, password string) error {
	stamp := timestamp.FindString(c.last)
	if stamp == "" {
		return errors.New("the last line has no APOP timestamp")
	}
	sum := md5.Sum([]byte(stamp + password))
	c.view.note("%s> (apop %s %s)", c.name, user, password)
	c.write("APOP " + user + " " + hex.EncodeToString(sum[:]) + "\r\n")
	return nil
}

var scramHashes = map[string]scram.HashGeneratorFcn{"SHA-1": scram.SHA1, "SHA-256": scram.SHA256}

// scram does an IMAP exchange (RFC 5802) up to before the tagged reply. Args: hash, tag, user, password.
func (c *client) scram(args []string) error {
	if len(args) != 4 || scramHashes[args[0]] == nil {
		return fmt.Errorf("scram %q: HASH TAG USER PASS are needed", args)
	}
	hash, tag, user, password := args[0], args[1], args[2], args[3]
	mechanism, err := scramHashes[hash].NewClient(user, password, "")
	if err != nil {
		return err
	}
	exchange := mechanism.WithNonceGenerator(func() string { return "fixedclientnonce" }).NewConversation()
	c.view.note("%s> (scram %s %s %s)", c.name, hash, user, password)
	c.write(tag + " AUTHENTICATE SCRAM-" + hash + "\r\n")
	for {
		if next, err := c.r.Peek(1); err != nil || next[0] != '+' {
			return nil // the reply is the script's to read
		}
		if err := c.read(stepLimit); err != nil {
			return err
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.last, "+ "))
		if err != nil {
			return err
		}
		response, err := exchange.Step(string(challenge))
		if err != nil {
			return err
		}
		c.write(base64.StdEncoding.EncodeToString([]byte(response)) + "\r\n")
	}
}

func lastWord(s string) string { return s[strings.LastIndexByte(s, ' ')+1:] }
