using System.Runtime.CompilerServices;

// As in the client, whose attribute this is: the runtime lets this assembly use ML.NET's internal members, eng/Widen lets the compiler see them.
[assembly: IgnoresAccessChecksTo("Microsoft.ML.Core")]
[assembly: IgnoresAccessChecksTo("Microsoft.ML.Data")]
[assembly: IgnoresAccessChecksTo("Microsoft.ML.DataView")]
