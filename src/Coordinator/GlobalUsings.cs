// The protocol has a LogLevel too, for what ranks tell; written out where it is meant.
global using LogLevel = Microsoft.Extensions.Logging.LogLevel;
