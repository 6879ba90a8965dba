namespace MLDistributed.Engine.Bench;

/// <summary>Rounds in which jobs take turns.</summary>
internal static class Rounds
{
    // One start may have more luck than another with where its memory lies.
    private const int OfAStart = 3;

    /// <summary>Gives every job its turn in each of the rounds. All are started anew every three.</summary>
    public static void Take(int count, IReadOnlyList<string> contenders, Func<string, Job> start, Action<string, Job> turn)
    {
        for (var round = 0; round < count; round += OfAStart)
        {
            var jobs = new List<Job>();
            try
            {
                foreach (var contender in contenders)
                    jobs.Add(start(contender));
                for (var i = 0; i < Math.Min(OfAStart, count - round) * jobs.Count; i++)
                {
                    Turn(jobs, i % jobs.Count);
                    Console.Error.Write('.');
                }
            }
            finally
            {
                jobs.ForEach(job => job.Dispose());
            }
        }

        Console.Error.WriteLine();

        // A peer that crashes must not cost the other results.
        void Turn(List<Job> jobs, int i)
        {
            try
            {
                turn(contenders[i], jobs[i]);
            }
            catch (Exception e) when (e is InvalidOperationException or IOException)
            {
                Console.Error.WriteLine($"{e.Message} Once more.");
                jobs[i].Dispose();
                jobs[i] = start(contenders[i]);
                turn(contenders[i], jobs[i]);
            }
        }
    }
}
