using System.Runtime.CompilerServices;

// The runtime lets this assembly use ML.NET's internal members; eng/Widen lets the compiler see them.
[assembly: IgnoresAccessChecksTo("Microsoft.ML.Core")]
[assembly: IgnoresAccessChecksTo("Microsoft.ML.Data")]
[assembly: IgnoresAccessChecksTo("Microsoft.ML.DataView")]
