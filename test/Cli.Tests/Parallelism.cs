[assembly: DoNotParallelize] // the console is one
