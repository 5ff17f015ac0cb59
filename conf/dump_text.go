package conf

import "strings"

// escapeQuoted makes s safe inside quotes.
func escapeQuoted(s string) string { return quoteEscaper.Replace(s) }

var quoteEscaper = strings.NewReplacer(`"`, `\"`, `\`, `\\`, `'`, `\'`)
