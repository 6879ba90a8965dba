using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using MLDistributed.Coordinator.Hosting;

namespace MLDistributed.Coordinator.Tests.Hosting;

[TestClass]
public sealed class LineFormatterTests
{
    [TestMethod]
    public void Write_NamesAndErrorsFromElsewhere_AreOneVisibleLine()
    {
        var time = new ManualTimeProvider();
        var entry = new LogEntry<string>(Microsoft.Extensions.Logging.LogLevel.Warning, "Jobs", new EventId(7), "Job \"a\e[2J\nb\"", new IOException("Full\u202E\nup."), (state, _) => state);
        using var output = new StringWriter();

        new LineFormatter(time).Write(entry, null, output);

        Assert.AreEqual($@"{time.GetLocalNow():HH:mm:ss} warn: Jobs[7] Job ""a\e[2J\nb"" System.IO.IOException: Full\u202E up.{Environment.NewLine}", output.ToString());
    }
}
