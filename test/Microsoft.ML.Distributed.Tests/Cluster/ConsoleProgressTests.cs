using System.Text;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class ConsoleProgressTests
{
    private readonly Clock _clock = new();

    [TestMethod]
    public void Report_Running_DrawsOneLine()
    {
        var (progress, output) = Make();
        progress.Report(Running(0, seconds: 1));
        output.GetStringBuilder().Clear();
        _clock.Advance(1);

        progress.Report(Running(0.4, seconds: 3));

        Assert.AreEqual("\r\e[Kepoch 12/30 ━━━━━━━━             40% loss 0.0312 · 85,300 rows/s · 2 ranks · 3.0 s left", output.ToString());
    }

    [TestMethod]
    [DataRow(0.5, "encoding ━━━━━      5 of 10 rows read")]
    [DataRow(0, "encoding: 5 of 10 rows read")]
    public void Report_Encoding_DrawsABarWhereTheNumberOfRowsIsKnown(double fraction, string expected)
    {
        var (progress, output) = Make(width: 80);

        progress.Report(new TrainingProgress { JobId = "", State = TrainingState.Encoding, Fraction = fraction, Message = "5 of 10 rows read" });

        Assert.AreEqual("\r\e[K" + expected, output.ToString());
    }

    [TestMethod]
    public void Report_NamesOfOtherJobs_ObeyNothing()
    {
        var (progress, output) = Make(width: 80);

        progress.Report(new TrainingProgress { JobId = "", State = TrainingState.Queued, Message = "waits behind \"a\e[2J\u202Eb\n\"" });

        Assert.AreEqual("\r\e[Kqueued: waits behind \"a\\e[2J\\u202Eb\\n\"", output.ToString());
    }

    [TestMethod]
    public void Report_OddHalf_DrawsHalfACell()
    {
        var (progress, output) = Make();

        progress.Report(Running(0.375, seconds: 1));

        Assert.Contains("epoch 12/30 ━━━━━━━╸             37% ", output.ToString());
    }

    [TestMethod]
    public void Report_ManyAtOnce_DrawsAtMostTenASecond()
    {
        var (progress, output) = Make();

        for (var i = 0; i < 100; i++)
        {
            progress.Report(Running(i / 100.0, seconds: i));
            _clock.Advance(0.01);
        }

        Assert.IsInRange(8, 11, output.ToString().Split('\r').Length - 1);
    }

    [TestMethod]
    [DataRow(80, null, "epoch 12/30 ━━━━       40% loss 0.0312 · 85,300 rows/s · 2 ranks · 3.0 s left")]
    [DataRow(80, 0.5, "epoch 12/30 ━━━━       40% loss 0.0312 (validation 0.5000) · 3.0 s left")]
    [DataRow(60, null, "epoch 12/30 ━━━━       40% loss 0.0312 · 3.0 s left")]
    [DataRow(40, null, "epoch 12/30 ━━━━       40% loss 0.0312")]
    public void Report_NarrowWindow_LeavesOutWhatTellsLeast(int width, double? validation, string expected)
    {
        var (progress, output) = Make(width);
        progress.Report(Running(0, seconds: 1));
        output.GetStringBuilder().Clear();
        _clock.Advance(1);

        progress.Report(Running(0.4, seconds: 3, validation));

        Assert.AreEqual("\r\e[K" + expected, output.ToString());
    }

    [TestMethod]
    public void Report_NarrowWindow_NeverWraps()
    {
        var (progress, output) = Make(width: 30);

        progress.Report(Running(0.5, seconds: 1));

        Assert.HasCount(29, output.ToString().Replace("\r\e[K", "", StringComparison.Ordinal));
    }

    [TestMethod]
    public void Report_End_ClearsTheLineAndSummarises()
    {
        var (progress, output) = Make();
        progress.Report(Running(0.5, seconds: 1));
        output.GetStringBuilder().Clear();

        progress.Report(new TrainingProgress { JobId = "j", State = TrainingState.Succeeded, Epoch = 30, Epochs = 30, Loss = 0.01, ValidationLoss = 0.02, WorldSize = 2, Elapsed = TimeSpan.FromSeconds(4.5), Fraction = 1 });
        progress.End();

        Assert.AreEqual($"\r\e[KTrained 30 epochs in 4.5 s on 2 ranks: loss 0.0100, validation loss 0.0200{Environment.NewLine}", output.ToString());
    }

    [TestMethod]
    public void Report_AsciiConsole_UsesNoOtherCharacter()
    {
        var (progress, output) = Make(encoding: Encoding.ASCII);

        progress.Report(Running(0.5, seconds: 1));

        Assert.IsTrue(Ascii.IsValid(output.ToString()), output.ToString());
    }

    [TestMethod]
    public void End_LineOpen_ClearsIt()
    {
        var (progress, output) = Make();
        progress.Report(new TrainingProgress { JobId = "", State = TrainingState.Queued, Message = "Waits for 2 devices." });

        progress.End();

        Assert.AreEqual("\r\e[Kqueued: Waits for 2 devices.\r\e[K", output.ToString());
    }

    private (ConsoleProgress Progress, Output Output) Make(int width = 200, Encoding? encoding = null)
    {
        var output = new Output(encoding ?? Encoding.UTF8);
        return (new ConsoleProgress(output, _clock, () => width), output);
    }

    private static TrainingProgress Running(double fraction, double seconds, double? validation = null) => new()
    {
        JobId = "j",
        State = TrainingState.Running,
        Epoch = 12,
        Epochs = 30,
        Loss = 0.0312,
        ValidationLoss = validation,
        RowsPerSecond = 85_300,
        WorldSize = 2,
        Fraction = fraction,
        Elapsed = TimeSpan.FromSeconds(seconds),
    };

    private sealed class Output(Encoding encoding) : StringWriter
    {
        public override Encoding Encoding => encoding;
    }

    private sealed class Clock : TimeProvider
    {
        private long _ticks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks;

        public void Advance(double seconds) => _ticks += TimeSpan.FromSeconds(seconds).Ticks;
    }

    [TestMethod]
    [DataRow(false)]
    [DataRow(true)]
    public void Report_WriterThatFails_IsSilentAndNotTriedAgain(bool isPlain)
    {
        var writer = new FullDisk();
        var progress = new ConsoleProgress(writer, TimeProvider.System, () => 80, isPlain);

        progress.Report(new TrainingProgress { JobId = "", State = TrainingState.Queued });
        progress.Report(new TrainingProgress { JobId = "", State = TrainingState.Succeeded });
        progress.End();

        Assert.AreEqual(1, writer.Tries);
    }

    private sealed class FullDisk : StringWriter
    {
        public int Tries { get; private set; }

        public override void Write(string? value) => Fail();

        public override void WriteLine(string? value) => Fail();

        private void Fail()
        {
            Tries++;
            throw new IOException("No space left on device");
        }
    }
}
