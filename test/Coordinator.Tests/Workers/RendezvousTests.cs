using System.Globalization;
using Google.Protobuf;
using MLDistributed.Coordinator.Workers;

namespace MLDistributed.Coordinator.Tests.Workers;

[TestClass]
public sealed class RendezvousTests
{
    // "1.0" - the second comes to the first round; answered are "-" nobody, "0" the one who asks, "0*" all, with the round.
    [TestMethod]
    [DataRow("0.0 1.0 1.1 0.1", "- 0* - 1*", DisplayName = "All goes well")]
    [DataRow("0.0 1.0 1.0", "- 0* 0", DisplayName = "The last has not heard it")]
    [DataRow("0.0 1.0 0.1 1.0 1.1", "- 0* - 0 1*", DisplayName = "One has not heard it, and another is ahead")]
    [DataRow("0.1 0.2 1.1 1.2", "- - 1* 2*", DisplayName = "The same, of a coordinator that has restarted")]
    [DataRow("0.0 1.0 0.1 1.1 0.2 1.0", "- 0* - 1* - -", DisplayName = "Old")]
    [DataRow("0.-1", "-", DisplayName = "No round")]
    public void Take_OfWhatMayHaveBeenLost_AnswersTheRoundAndTheOneBefore(string told, string expected)
    {
        var rendezvous = new Rendezvous();

        var answers = told.Split(' ').Select(t => t.Split('.').Select(n => int.Parse(n, CultureInfo.InvariantCulture)).ToArray()).Select(t =>
        {
            if (rendezvous.Take(t[0], count: 2, new Gather { AttemptId = "p1", Round = t[1], Text = ByteString.CopyFromUtf8($"{t[0]} in {t[1]}") }) is not var (gathered, toAll))
                return "-";
            CollectionAssert.AreEqual(new[] { $"0 in {gathered.Round}", $"1 in {gathered.Round}" }, gathered.Texts.Select(text => text.ToStringUtf8()).ToArray());
            return $"{gathered.Round}{(toAll ? "*" : "")}";
        });

        Assert.AreEqual(expected, string.Join(' ', answers));
    }
}
