package main

import (
	"strings"
	"testing"

	"dproxy/conf"
)

// TestDriversThatAreNotHere say so, with the place of the block.
func TestDriversThatAreNotHere(t *testing.T) {
	for name, want := range map[string]string{"pam": "needs C libraries", "bsdauth": "exists on BSD only"} {
		_, err := drivers()[name](conf.Passdb{Driver: name, Position: conf.Position{File: "/etc/dovecot/auth.conf", Line: 7}})
		if err == nil || !strings.Contains(err.Error(), "/etc/dovecot/auth.conf line 7") || !strings.Contains(err.Error(), "passdb driver '"+name+"' "+want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
