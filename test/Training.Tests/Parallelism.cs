// Ranks are threads here, and libtorch's thread settings are the process's: one test at a time.
[assembly: DoNotParallelize]
