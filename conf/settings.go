package conf

import "time"

// Settings holds every setting that dproxy acts on, merged for one connection. A value is
// immutable and shared: equal pointers mean equal settings, so rooms key what they derive from
// settings by the pointer.
type Settings struct {
	// Process.
	BaseDir, StateDir, InstanceName         string
	Protocols, Listen                       string
	DefaultInternalUser, DefaultLoginUser   string
	DefaultInternalGroup                    string
	DefaultProcessLimit, DefaultClientLimit uint
	ShutdownClients                         bool
	HAProxyTrustedNetworks                  string
	HAProxyTimeout                          time.Duration
	LogPath, InfoLogPath, DebugLogPath      string
	SyslogFacility, LogTimestamp            string
	Hostname                                string // empty: the machine's FQDN
	DoveadmAPIKey                           string
	// Login.
	LoginGreeting, LoginTrustedNetworks    string
	LoginSourceIPs                         string
	LoginLogFormat, LoginLogFormatElements string
	LoginProxyTimeout                      time.Duration
	LoginProxyMaxReconnects                uint
	LoginProxyMaxDisconnectDelay           time.Duration
	LoginProxyNotifyPath                   string // of a FIFO, below BaseDir/login unless absolute
	LoginProxyRawlogDir                    string
	LoginProxyLocal                        string // address:port
	LoginProxyProtocol                     string // no, v1, v2
	LoginProxyFollowReferrals              bool
	LoginProxyUserIPLimit                  bool
	MailMaxUserIPConnections               uint
	DisablePlaintextAuth                   bool
	IMAPCapability, IMAPIDSend, IMAPIDLog  string
	IMAPIDRetain, IMAPLiteralMinus         bool
	SubmissionMaxMailSize                  uint64 // bytes, 0: no limit
	SubmissionClientWorkarounds            string
	SubmissionBackendCapabilities          string
	ManagesieveImplementationString        string
	ManagesieveSieveCapability             string
	ManagesieveNotifyCapability            string
	// LMTP.
	LMTPProxy, LMTPAddReceivedHeader bool
	LMTPVerboseReplies               bool
	LMTPHdrDeliveryAddress           string
	LMTPUserConcurrencyLimit         uint
	LMTPClientWorkarounds            string
	RecipientDelimiter               string
	// Auth.
	AuthMechanisms, AuthRealms, AuthDefaultRealm   string
	AuthCacheSize                                  uint64 // bytes, 0: off
	AuthCacheTTL, AuthCacheNegativeTTL             time.Duration
	AuthUsernameChars, AuthUsernameTranslation     string
	AuthUsernameFormat                             string
	AuthMasterUserSeparator                        string
	AuthAnonymousUsername                          string
	AuthFailureDelay                               time.Duration
	AuthVerbose, AuthDebug, AuthDebugPasswords     bool
	AuthVerbosePasswords, AuthProxySelf            string
	AuthSSLRequireClientCert                       bool
	AuthSSLUsernameFromCert                        bool
	AuthPolicyServerURL, AuthPolicyServerAPIHeader string
	AuthPolicyServerTimeoutMsecs                   uint
	AuthPolicyHashMech, AuthPolicyHashNonce        string
	AuthPolicyHashTruncate                         uint
	AuthPolicyRequestAttributes                    string
	AuthPolicyCheckBeforeAuth                      bool
	AuthPolicyCheckAfterAuth                       bool
	AuthPolicyReportAfterAuth                      bool
	AuthPolicyRejectOnFail, AuthPolicyLogOnly      bool
	// TLS.
	SSL                                      string // no, yes, required
	SSLCert, SSLKey, SSLAltCert, SSLAltKey   string // PEM text once files are read
	SSLKeyPassword, SSLCA                    string
	SSLVerifyClientCert, SSLRequireCRL       bool
	SSLCertUsernameField                     string
	SSLCipherList, SSLCipherSuites           string
	SSLCurveList, SSLMinProtocol, SSLOptions string
	SSLClientCAFile, SSLClientCADir          string // paths
	SSLClientCert, SSLClientKey              string // PEM text once files are read
	SSLClientRequireValidCert                bool
	// What 2.4 has inside ssl_client { }; empty: the settings without Client.
	SSLClientCipherList, SSLClientCipherSuites string
	SSLClientCurveList, SSLClientMinProtocol   string
}
