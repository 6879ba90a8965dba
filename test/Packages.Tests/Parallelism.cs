[assembly: DoNotParallelize]
[assembly: System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
